"""Following one job's log to its ending, across any number of connections. No I/O (see `steps`)."""

from __future__ import annotations

import logging

from tokentail.client.calls import job_path
from tokentail.client.errors import ApiError, ProtocolError, ServerUnreachable
from tokentail.client.position import BrokenLog, Position
from tokentail.client.replies import error_of
from tokentail.client.retries import Retries
from tokentail.client.sse import Decoder
from tokentail.client.steps import Open, Read, Reply, Request, Sleep, Steps
from tokentail.shared.cursor import Cursor

logger = logging.getLogger("tokentail.client")

#: How often a follower may get a broken log and read again before it says so. A proxy may be to blame for
#: one; it is not counted "in a row", for a server may send good entries again before each broken one.
BROKEN_LOGS = 3


def follow(job_id: str, after: Cursor | None, retries: Retries) -> Steps[None]:
    """Yield each entry after the cursor, in order and once, and return after the ending.

    Returns at once when `after` is the ending itself. Raises JobNotFound, LogExpired and the other
    refusals as they come; ServerUnreachable, ServerBusy and ProtocolError when `retries` are used up.
    """
    position = Position(after)
    reconnect = _Reconnect(job_id, retries)
    decoder = Decoder()
    while True:
        try:
            reply: Reply = yield Open(_request(job_id, position.cursor))
            if reply.status == 204:
                return
            _check(reply)
            decoder = Decoder(decoder.retry_ms)
            reconnect.connected()
            while chunk := (yield Read()):
                reconnect.heard()
                for received in decoder.feed(chunk):
                    entry = position.take(received)
                    reconnect.progressed()
                    yield entry
                    if position.ended:
                        return
            wait = reconnect.after_end(decoder.retry_ms)
        except (ServerUnreachable, ApiError, BrokenLog) as error:
            wait = reconnect.after_failure(error, decoder.retry_ms)
        yield Sleep(wait)


def _request(job_id: str, cursor: Cursor | None) -> Request:
    # A proxy that compresses a stream holds it back until it has a block full.
    headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
    if cursor is not None:
        headers["last-event-id"] = str(cursor)
    return Request("GET", f"{job_path(job_id)}/events", headers=headers)


def _check(reply: Reply) -> None:
    if reply.status != 200:
        raise error_of(reply)
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        raise ProtocolError("The answer is not an event stream; check the address.")


class _Reconnect:
    """Whether and when to connect again. Made for one follow; counts what went wrong in it."""

    def __init__(self, job_id: str, retries: Retries) -> None:
        self._job_id = job_id
        self._retries = retries
        self._failures = 0
        self._broken = 0
        self._quiet_ends = 0
        self._chunks = 0

    def connected(self) -> None:
        self._chunks = 0

    def heard(self) -> None:
        """Bytes came. The first may be no more than the greeting of a server that is about to break."""
        self._chunks += 1
        if self._chunks > 1:
            self._failures = 0

    def progressed(self) -> None:
        self._failures = self._quiet_ends = 0

    def after_end(self, retry_ms: int | None) -> float:
        """The server ended the connection in good order: come back at once. One that does so again and
        again without saying anything is overloaded; it is asked at the pace it wants."""
        self._failures = 0
        self._quiet_ends += 1
        if self._quiet_ends <= 1:
            return 0
        return max(_seconds(retry_ms), self._retries.wait_seconds(self._quiet_ends - 1))

    def after_failure(self, error: ServerUnreachable | ApiError | BrokenLog, retry_ms: int | None) -> float:
        """Seconds to wait before connecting again. Raises the error when there is no point in it."""
        self._failures += 1
        self._broken += isinstance(error, BrokenLog)
        wish = error.retry_after_seconds or 0 if isinstance(error, ApiError) else 0
        if isinstance(error, ApiError) and not _passes(error):
            raise error
        if self._failures >= self._retries.connections or self._broken >= BROKEN_LOGS:
            raise error
        if wish > self._retries.longest_retry_after_seconds:
            raise error
        seconds = max(_seconds(retry_ms), self._retries.wait_seconds(self._failures, wish))
        logger.info("Job %s: %s Connecting again in %.1f s.", self._job_id, error, seconds)
        return seconds


def _passes(error: ApiError) -> bool:
    return error.status == 429 or error.status >= 500


def _seconds(retry_ms: int | None) -> float:
    return (retry_ms or 0) / 1000
