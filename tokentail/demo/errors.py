"""The HTTP errors of the demo provider, in OpenAI's shape."""

from __future__ import annotations

from tokentail.shared.errors import TokentailError


class ProviderError(TokentailError):
    """Answered in place of a completion: a status and `{"error": {message, type, param, code}}`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        #: What the client reads.
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
