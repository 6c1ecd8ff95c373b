"""What an HTTP answer means: its JSON, or the error that it stands for."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import orjson

from tokentail.client.errors import (
    ApiError,
    FieldError,
    IdempotencyConflict,
    InvalidRequest,
    JobNotFound,
    LogExpired,
    NotAuthorized,
    ProtocolError,
    ServerBusy,
)
from tokentail.client.steps import Reply

_ERRORS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: NotAuthorized,
    403: NotAuthorized,
    404: JobNotFound,
    409: IdempotencyConflict,
    410: LogExpired,
    413: InvalidRequest,
    422: InvalidRequest,
    429: ServerBusy,
    503: ServerBusy,
}

#: Statuses after which the same request may well succeed: the server's own, and those with which a proxy
#: tells that the server behind it is away (then the request may have been carried out).
PASSING = frozenset({429, 502, 503, 504})


def json_of(reply: Reply) -> Any:
    """The JSON of a good answer. Raises the ApiError that any other stands for, or ProtocolError."""
    if not 200 <= reply.status < 300:
        raise error_of(reply)
    parsed = _parsed(reply)
    if not isinstance(parsed, dict):
        raise ProtocolError("The answer is not the JSON of a tokentail server; check the address.")
    return parsed


def error_of(reply: Reply) -> ApiError | ProtocolError:
    """The error that an answer other than 2xx stands for."""
    problem = _parsed(reply)
    if not isinstance(problem, dict) or "code" not in problem:
        return _foreign(reply)
    fields = [_field_error(one) for one in problem.get("errors") or ()]
    return _ERRORS.get(reply.status, ApiError)(
        _sentence(problem, fields),
        status=reply.status,
        code=str(problem["code"]),
        errors=fields,
        retry_after_seconds=retry_after_seconds(reply),
        request_id=reply.headers.get("x-request-id"),
    )


def retry_after_seconds(reply: Reply) -> float | None:
    """The server's wish when to come back, from either way of writing `Retry-After`."""
    written = reply.headers.get("retry-after", "").strip()
    if written.isascii() and written.isdigit():
        return float(written)
    try:
        return max(0.0, parsedate_to_datetime(written).timestamp() - time())
    except ValueError:
        return None


def _parsed(reply: Reply) -> Any:
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None


def _field_error(raw: dict[str, Any]) -> FieldError:
    place = raw.get("pointer") or raw.get("parameter") or raw.get("header") or ""
    return FieldError(str(place), str(raw.get("message", "")))


def _sentence(problem: dict[str, Any], fields: list[FieldError]) -> str:
    text = str(problem.get("detail") or problem.get("title") or problem["code"])
    if all(one.message in text for one in fields):
        return text
    listed = "; ".join(f"{one.pointer}: {one.message}" if one.pointer else one.message for one in fields)
    return f"The request is not valid: {listed}."


def _foreign(reply: Reply) -> ApiError | ProtocolError:
    # A proxy in front of the server explains itself in HTML, if at all.
    if reply.status in PASSING or reply.status >= 500:
        return ServerBusy(
            f"The server, or a proxy before it, answered {reply.status}.",
            status=reply.status,
            code="unavailable",
            retry_after_seconds=retry_after_seconds(reply),
        )
    return ProtocolError(
        f"The answer was {reply.status}, and not in the words of a tokentail server; check the address."
    )
