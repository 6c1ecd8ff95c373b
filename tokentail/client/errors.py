"""What the client raises, all under the root `TokentailError`.

Four families, by what the caller can do: the server could not be reached (try later), it refused the
request (`ApiError`: look at `code`), it broke the protocol (upgrade, or check the address), or the job
itself came to another end than hoped for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tokentail.shared import errors

# With `as`, because they are offered here too.
from tokentail.shared.errors import MalformedCursor as MalformedCursor  # noqa: PLC0414
from tokentail.shared.errors import TokentailError as TokentailError  # noqa: PLC0414

if TYPE_CHECKING:
    from tokentail.client.transcript import Restarted
    from tokentail.shared.events import Cancelled, Failed


class ServerUnreachable(TokentailError):
    """No connection could be made: nothing was sent. The server is down or the address is wrong."""


class ConnectionLost(ServerUnreachable):
    """The connection broke or stayed silent before the answer was complete.

    A request may or may not have been carried out. The client has already tried again as often as
    its `Retries` allow.
    """


class FieldError(NamedTuple):
    """One problem of a refused request: where and what. `pointer` is a JSON pointer into the body, or the
    name of a query parameter or header."""

    pointer: str
    message: str


class ApiError(TokentailError):
    """The server refused. `code` is the protocol's name for the reason, `status` the HTTP status.

    `errors` lists every problem of an invalid request, `retry_after_seconds` is there when the server
    said when to come back, and `request_id` finds the request in the server's log.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds
        self.request_id = request_id


class InvalidRequest(ApiError):
    """The caller's fault: the request can't be accepted as it is. `errors` says why."""


class NotAuthorized(ApiError):
    """The key is missing, unknown, or not allowed to do this."""


class JobNotFound(ApiError, errors.JobNotFound):
    """The job is unknown, expired or somebody else's."""


class IdempotencyConflict(ApiError, errors.IdempotencyConflict):
    """The caller's fault: this idempotency key was used with another request."""


class LogExpired(ApiError):
    """The job's events are no longer kept; what is left of it is the job object."""


class ServerBusy(ApiError):
    """Too many requests, a full queue, or a store that is away. Nothing was done; try again later."""


class ProtocolError(TokentailError):
    """What answered does not speak tokentail's protocol, or breaks its promises repeatedly."""


class JobFailed(TokentailError):
    """The job ended as `failed`. `code` says why, `retryable` whether submitting it again may help."""

    def __init__(self, job_id: str, ending: Failed) -> None:
        error = ending["error"]
        super().__init__(f"Job {job_id} failed: {error['message']} ({error['code']})")
        self.job_id = job_id
        self.code = error["code"]
        self.message = error["message"]
        self.retryable = error["retryable"]
        self.usage = ending.get("usage")


class JobCancelled(TokentailError):
    """The job was cancelled before it was complete."""

    def __init__(self, job_id: str, ending: Cancelled | None = None) -> None:
        super().__init__(f"Job {job_id} was cancelled.")
        self.job_id = job_id
        self.usage = ending.get("usage") if ending else None


class StreamRestarted(TokentailError):
    """Text that was already given out is void: the answer begins again, and will read differently.

    The job goes on. `client.result(job_id)` waits for its answer, `client.follow(job_id)` shows the new
    attempt from its beginning; `stream(..., on_restart=...)` carries on instead of raising this.
    """

    def __init__(self, job_id: str, restarted: Restarted) -> None:
        super().__init__(
            f"The answer of job {job_id} begins again ({restarted.reason}); "
            "the text received so far is void. The job itself goes on."
        )
        self.job_id = job_id
        self.restarted = restarted
