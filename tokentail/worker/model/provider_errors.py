"""What litellm, httpx and the provider throw → one `ModelError` with a clean sentence. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tokentail.shared.errors import ModelError
from tokentail.worker.model.sse import BrokenStream

#: Characters of a provider's message that a client gets to see.
MESSAGE_LIMIT = 500

# 408 and 425 are 4xx in name only: the same request may well succeed.
_TRANSIENT = frozenset({408, 425})

_PREFIXES = re.compile(r"^(?:(?:litellm\.)?[A-Za-z_]*(?:Error|Exception|Timeout)\b\s*(?:-|:)\s*)+")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]}]+|\b(?:[\w-]+\.)+[\w-]+:\d{2,5}\b", re.IGNORECASE)
_KEYS = re.compile(
    r"\bBearer\s+[^\s'\",]+"
    # What known providers' keys begin with, also half hidden by asterisks as OpenAI quotes them.
    r"|\b(?:sk|pk|rk|gsk|xai|hf|r8|pplx|nvapi|ya29|AIza|AKIA|ASIA|ghp|csk|fw)[-_.]?[\w*.\-]{8,}"
    # Anything long that mixes letters and digits as no word does.
    r"|(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{32,}={0,2}",
    re.IGNORECASE,
)


def truncated() -> ModelError:
    """The provider's stream ended without saying why: cut off, whatever was sent before it."""
    return ModelError("provider_truncated", "The provider's answer broke off before its end.", retryable=True)


def model_error(error: BaseException, secrets: Sequence[str]) -> ModelError:
    """Say in our words what went wrong, and whether the same request may succeed later."""
    error = getattr(error, "original_exception", None) or error
    status = _status(error)
    if isinstance(error, httpx.TimeoutException) or status == 408:
        return ModelError("provider_error", "The provider did not answer in time.", retryable=True)
    if isinstance(error, httpx.TransportError) or type(error).__name__ == "APIConnectionError":
        # The text would name the address; all there is to say is this.
        return ModelError("provider_error", "The connection to the provider failed.", retryable=True)
    message = clean(_text(error), secrets)
    if status == 429:
        wish = retry_after_seconds(_headers(error))
        return ModelError("rate_limited", message, retryable=True, retry_after_seconds=wish)
    if status is not None and 400 <= status < 500 and status not in _TRANSIENT:
        return ModelError("provider_rejected", message, retryable=False)
    wish = retry_after_seconds(_headers(error))
    return ModelError("provider_error", message, retryable=True, retry_after_seconds=wish)


def clean(message: str, secrets: Sequence[str]) -> str:
    """A provider's message without keys, addresses and litellm's class names, of bounded length."""
    for secret in secrets:
        message = message.replace(secret, "[key]")
    # Longer texts hold whole response bodies; cut before the patterns run over them.
    message = " ".join(message[: MESSAGE_LIMIT * 4].split())
    message = _KEYS.sub("[key]", _URL.sub("[url]", _PREFIXES.sub("", message)))
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 1] + "…"
    return message or "The provider failed without a message."


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The provider's wish in seconds, from either way to write Retry-After; None if it makes no sense."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _status(error: BaseException) -> int | None:
    if isinstance(error, BrokenStream):
        return error.status
    status: Any = getattr(error, "status_code", None)
    return int(status) if isinstance(status, int | str) and str(status).isdigit() else None


def _text(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) and message else str(error)


def _headers(error: BaseException) -> Mapping[str, str]:
    response = getattr(error, "response", None)
    for found in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        if found:
            return {str(name).lower(): str(value) for name, value in dict(found).items()}
    return {}
