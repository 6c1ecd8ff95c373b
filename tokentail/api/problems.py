"""Errors as `application/problem+json` (RFC 9457) with a `code` of the protocol."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from tokentail.shared.errors import (
    IdempotencyConflict,
    JobNotFound,
    MalformedCursor,
    NoRoom,
    QueueFull,
    StoreUnavailable,
    TokentailError,
)

#: When Redis is away: a restart takes about this long.
RETRY_SECONDS = 2
#: When Redis is full: jobs have to end and their logs to expire, or an operator to come.
NO_ROOM_RETRY_SECONDS = 30

#: Our errors by the status and code that a client gets for them.
_KNOWN: dict[type[TokentailError], tuple[int, str]] = {
    MalformedCursor: (400, "invalid_cursor"),
    JobNotFound: (404, "not_found"),
    IdempotencyConflict: (409, "idempotency_conflict"),
    QueueFull: (503, "queue_full"),
    NoRoom: (503, "unavailable"),
    StoreUnavailable: (503, "unavailable"),
}


class Problem(Exception):
    """A refusal, raised by a route. `errors` lists each fault: `{"pointer": …, "message": …}`, where the
    pointer (RFC 6901) is into the body; a query parameter or header is named by `parameter` or `header`."""

    def __init__(
        self, status: int, code: str, detail: str, *, errors: list[dict[str, str]] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
            **({"errors": errors} if errors else {}),
            **more,
        }
        self.headers: dict[str, str] = {}


def problem_of(error: TokentailError) -> Problem:
    """The refusal that stands for one of our errors."""
    status, code = next(_KNOWN[kind] for kind in type(error).__mro__ if kind in _KNOWN)
    problem = Problem(status, code, str(error))
    if isinstance(error, QueueFull):
        problem.headers["Retry-After"] = str(error.retry_after_seconds)
    elif isinstance(error, StoreUnavailable):
        problem.headers["Retry-After"] = str(RETRY_SECONDS)
    elif isinstance(error, NoRoom):
        problem.headers["Retry-After"] = str(NO_ROOM_RETRY_SECONDS)
    return problem


def response(problem: Problem) -> Response:
    """The refusal as an answer."""
    return Response(
        orjson.dumps(problem.body),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )
