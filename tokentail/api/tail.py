"""One watched log in memory, and the clients that follow it."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable

from tokentail.api import sse
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.log import Entry

#: A client that lost us waits this long before it comes back; spread, so that a restart of ours does not
#: bring all of them at the same moment.
RETRY_MS = (1000, 3000)

#: Most bytes that go out in one write: a client that is far behind catches up in pieces, so that its
#: send deadline measures a stall and not a slow line.
WRITE_BYTES = 256 * 1024


class Tail:
    """A log's entries as frames, encoded once however many follow. Index i of `frames` is entry i.

    `ended` once the last frame is an ending; `gone` once the log is known to be no more. Entries only ever
    arrive at the end.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.frames: list[bytes] = []
        self._cursors: list[Cursor] = []
        #: How often followers have asked for a read to the log's end, and how many of these askings a read
        #: that began after them has answered.
        self.asked = 1
        self.answered = 0
        self.ended = False
        self.gone = False
        self.followers: set[Follower] = set()
        #: When (loop time) the log last gave a sign of life: an entry, or a look at its record.
        self.heard_at = 0.0

    @property
    def position(self) -> Cursor:
        """What the reader has read up to."""
        return self._cursors[-1] if self._cursors else START

    @property
    def is_loaded(self) -> bool:
        """Whether every follower that asked for a read to the log's end has had it."""
        return self.answered == self.asked

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.gone

    def add(self, entry: Entry) -> None:
        """Take the log's next entry in; followers are woken by `wake`."""
        self.frames.append(sse.frame(entry))
        self._cursors.append(entry.cursor)
        self.ended = entry.is_ending

    def wake(self) -> None:
        """Tell all followers that something has changed."""
        for follower in self.followers:
            follower.wake()

    def index_after(self, cursor: Cursor) -> int | None:
        """Where a client goes on that has seen everything up to `cursor`; None if the log can't prove it:
        an entry it never held, or one beyond its end."""
        if cursor == START:
            return 0
        index = bisect_left(self._cursors, cursor)
        if index < len(self._cursors) and self._cursors[index] == cursor:
            return index + 1
        return None


class Follower:
    """One client reading one tail: a cursor, not a queue. A slow one costs an index and catches up in
    large writes."""

    def __init__(self, tail: Tail, after: Cursor, abort: Callable[[], None]) -> None:
        self.tail = tail
        self._after = after
        # Before such a read an unknown cursor means nothing: other processes may be ahead of this one.
        self._asked = tail.asked
        self._index: int | None = None
        self._awake = asyncio.Event()
        self._prefix = sse.retry(random.randint(*RETRY_MS))  # noqa: S311 -- jitter, no secret
        self._ping = False
        #: Told to end cleanly: old age, shutdown, or the client has gone.
        self.closed = False
        #: Since when (loop time) a write waits for the client to take something; None while none does.
        self.sending_since: float | None = None
        #: When (loop time) something was last written.
        self.sent_at = asyncio.get_running_loop().time()
        self.began_at = self.sent_at
        #: Its share of the longest life: all that came at one moment must not come back at one moment.
        self.patience = random.uniform(0.95, 1.05)  # noqa: S311 -- jitter, no secret
        #: Drops the connection at once, with what is buffered for it.
        self.abort = abort

    def wake(self) -> None:
        """Something may be there to write."""
        self._awake.set()

    def ping(self) -> None:
        """Write a comment if nothing else is to be written."""
        self._ping = True
        self.wake()

    def close(self) -> None:
        """End cleanly with what has been written so far."""
        self.closed = True
        self.wake()

    async def next(self) -> bytes | None:
        """The bytes to write next; waits for some; None when the stream is over."""
        while not self.closed:
            self._awake.clear()
            if chunk := self._take():
                return chunk
            if self.tail.is_over and self._index == len(self.tail.frames):
                return None
            await self._awake.wait()
        return None

    async def next_of_loaded(self) -> bytes | None:
        """The first bytes of a log that has ended; None, too, when there is no log any more."""
        while not self._knows_the_end:
            self._awake.clear()
            await self._awake.wait()
        return await self.next() if self.tail.frames else None

    @property
    def _knows_the_end(self) -> bool:
        return self.tail.answered >= self._asked or self.tail.is_over

    def _take(self) -> bytes:
        if self._index is None and (prefix := self._begin()):
            return prefix
        if self._index is not None and (frames := self._frames()):
            frames, self._prefix = self._prefix + frames, b""
            return frames
        if self._ping:
            self._ping = False
            return sse.PING
        return b""

    def _begin(self) -> bytes:
        """Find the place to start from; a client whose cursor can't be proven is told to forget."""
        self._index = self.tail.index_after(self._after)
        if self._index is not None or not self._knows_the_end:
            return b""
        self._index = 0
        reset, self._prefix = self._prefix + sse.reset(str(self._after)), b""
        return reset

    def _frames(self) -> bytes:
        frames, start, size = self.tail.frames, self._index or 0, 0
        end = start
        while end < len(frames) and size < WRITE_BYTES:
            size += len(frames[end])
            end += 1
        self._index = end
        return b"".join(frames[start:end])
