"""What litellm, httpx and the provider throw → one `ModelError` with a clean sentence. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tokentail.shared.errors import ModelError
from tokentail.worker.model.sse import BrokenStream

#: Characters of a provider's message that a client gets to see.
MESSAGE_LIMIT = 500

# These are 4xx in name only: the same request may well succeed.
_TRANSIENT = frozenset({408, 425, 429})

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
    chain = list(_chain(error))
    status = _status(chain)
    if status == 408 or any(isinstance(e, httpx.TimeoutException | TimeoutError) for e in chain):
        return ModelError("provider_error", "The provider did not answer in time.", retryable=True)
    if any(isinstance(e, httpx.TransportError) for e in chain):
        # Its text names the address; all there is to say is this.
        return ModelError("provider_error", "The connection to the provider failed.", retryable=True)
    if status is None:
        return ModelError(
            "provider_error", f"The call to the provider failed ({type(chain[-1]).__name__}).", retryable=True
        )
    message = clean(_text(error), secrets)
    if 400 <= status < 500 and status not in _TRANSIENT:
        return ModelError("provider_rejected", message, retryable=False)
    return ModelError(
        "rate_limited" if status == 429 else "provider_error",
        message,
        retryable=True,
        retry_after_seconds=retry_after_seconds(_headers(chain)),
    )


def clean(message: str, secrets: Sequence[str]) -> str:
    """A provider's message without keys, addresses and litellm's class names, of bounded length."""
    for secret in secrets:
        message = message.replace(secret, "[key]")
    # Longer texts hold whole response bodies; cut before the patterns run over them.
    printable = "".join(c if c.isprintable() else " " for c in message[: MESSAGE_LIMIT * 4])
    message = " ".join(printable.split())
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


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from or during, outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _status(chain: Sequence[BaseException]) -> int | None:
    """The HTTP status that the provider really sent. litellm's own exceptions only say what it made of
    it, partly by looking for words in the message: a 404 about a model called `rate-limited` is a 429 to it.
    """
    for error in reversed(chain):
        if isinstance(error, BrokenStream):
            return error.status
        response = getattr(error, "response", None)
        status: Any = getattr(response, "status_code", None) or getattr(error, "status_code", None)
        if isinstance(status, int | str) and str(status).isdigit():
            return int(status)
    return None


def _text(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) and message else str(error)


def _headers(chain: Sequence[BaseException]) -> Mapping[str, str]:
    for error in chain:
        response = getattr(error, "response", None)
        for found in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
            if found:
                return {str(name).lower(): str(value) for name, value in dict(found).items()}
    return {}
