"""Every error that tokentail raises on purpose, under one root.

Each class says who is at fault and what the caller may do. Foreign exceptions (redis, litellm, httpx)
are turned into these at their door; one that arrives elsewhere is a bug.
"""

from __future__ import annotations


class TokentailError(Exception):
    """The root. Its text is a sentence that can be shown to a person."""


class ConfigError(TokentailError):
    """The operator's fault: a setting or a file is wrong. The text names it; nothing was started."""


class MalformedCursor(TokentailError):
    """The client's fault: a cursor that no server of ours wrote. Asking again won't help."""


class StoreUnavailable(TokentailError):
    """Nobody's fault: Redis does not answer. Asking again in a moment may help; nothing was stored,
    or what was stored is found again under the same idempotency key."""


class LogCut(StoreUnavailable):
    """Nobody's fault: Redis came back without the end of a log. Its writer, who has kept it, appends it
    again; until then nothing can follow."""


class JobNotFound(TokentailError):
    """The job is unknown, expired or somebody else's; the three are never told apart."""


class QueueFull(TokentailError):
    """The queue is at its limit. The caller may come back after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("The queue is full; try again later.")
        self.retry_after_seconds = retry_after_seconds


class NoRoom(TokentailError):
    """The operator's fault, or the load's: Redis is nearly full, or would throw jobs away. Those that run go
    on; the caller may come back."""


class IdempotencyConflict(TokentailError):
    """The client's fault: this idempotency key was used with another request body."""


class Superseded(TokentailError):
    """This attempt is no longer the job's newest, or the job has ended: stop, write nothing more.

    Raised to a worker by its log: `fence` is the highest that stands there, 0 if that was not asked.
    """

    def __init__(self, message: str, fence: int = 0) -> None:
        super().__init__(message)
        self.fence = fence


class ModelError(TokentailError):
    """The provider failed us. `code` is one of the protocol's error codes, `retryable` tells whether the
    same request may succeed later, and `retry_after_seconds` is the provider's own wish, if it had one.

    The text has been cleaned of keys and URLs and may be shown to the client.
    """

    def __init__(
        self, code: str, message: str, *, retryable: bool, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
