"""One client reading one tail."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

from tokentail.api import sse
from tokentail.api.replay import replay
from tokentail.api.tail import Tail
from tokentail.api.wire import Wire, chunk
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.log import Logs

#: A client that lost us waits this long before it comes back; spread, so that a restart of ours does not
#: bring all of them at the same moment.
RETRY_MS = (1000, 3000)

_PING = chunk(sse.PING)


class Follower:
    """A cursor, not a queue. It is written to from wherever something happens, and has no task of its own:

    - it waits until its cursor can be proven, then catches up, a piece at a time;
    - with everything given to it it is *live*, and the tail writes to it whatever comes;
    - while its wire is full it is given nothing, and then catches up.

    A slow one so costs a number, and delays nobody. Only one that needs what its tail no longer holds has a
    task that reads it from Redis. `over` is done when nothing more is to be written.
    """

    # Thousands of them wait for one token.
    __slots__ = (
        "_after",
        "_asked",
        "_known",
        "_logs",
        "_next",
        "_replaying",
        "_room",
        "_soon",
        "_started",
        "_write",
        "began_at",
        "full_since",
        "over",
        "patience",
        "tail",
        "wire",
    )

    def __init__(self, tail: Tail, after: Cursor, wire: Wire, logs: Logs) -> None:
        loop = asyncio.get_running_loop()
        self.tail = tail
        self.wire = wire
        self._write = wire.writer()
        self._logs = logs
        self._after = after
        # Before such a read an unknown cursor means nothing: other processes may be ahead of this one.
        self._asked = tail.asked
        #: The number of the entry to be written next; None until the cursor is proven.
        self._next: int | None = None
        self._known: asyncio.Future[None] | None = None
        self._started = False
        self._soon = False
        self._replaying: asyncio.Task[None] | None = None
        #: Set when the wire takes more again; only who replays waits for it.
        self._room: asyncio.Event | None = None
        self.over: asyncio.Future[None] = loop.create_future()
        self.began_at = loop.time()
        #: Since when (loop time) the wire is full, perhaps of an earlier answer; None while it is not.
        self.full_since = self.began_at if wire.is_full else None
        #: Its share of the longest life: all that came at one moment must not come back at one moment.
        self.patience = random.uniform(0.95, 1.05)  # noqa: S311 -- jitter, no secret

    # From outside

    async def known(self) -> None:
        """Wait until the tail has been read to what was the log's end when this follower came."""
        if not self._knows_the_end:
            self.tail.waiting.add(self)
            self._known = asyncio.get_running_loop().create_future()
            await self._known

    def start(self) -> None:
        """Write from now on: the head of the response has been."""
        if self.wire.is_lost:
            self.close()  # It left while it was let in, and what is closed can't be written to.
            return
        self._started = True
        self.wire.listener = self
        retry_ms = random.randint(*RETRY_MS)  # noqa: S311 -- jitter, no secret
        self._write(chunk(self.tail.dialect.greeting(retry_ms)))
        if self.over.done():
            self._farewell()  # The process began to stop while it was let in.
        if self.wire.is_full:
            self.full()
        else:
            self.full_since = None
        self.go_on()

    def close(self, *, is_whole: bool = False) -> None:
        """Write no more; what was written stands. `is_whole`: there is nothing more to be told; else a client
        that could take that for the end is told that it is not. Any number of times."""
        if not (is_whole or self.over.done()):
            self._farewell()
        self.tail.live.pop(self, None)
        self.tail.waiting.discard(self)
        if self._replaying is not None:
            self._replaying.cancel()
        for waiting in (self._known, self.over):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _farewell(self) -> None:
        farewell = self.tail.dialect.farewell()
        if farewell and self._started and not self.wire.is_lost:
            self._write(chunk(farewell))

    def ping(self) -> None:
        """Write a comment, unless the wire is full of other things."""
        if self._started and not self.wire.is_full and not self.over.done():
            self._write(_PING)

    def go_on(self) -> None:
        """Write the next piece of what there is, if that can be told."""
        self._soon = False
        if self._known is not None and self._knows_the_end and not self._known.done():
            self._known.set_result(None)
        if not self._started or self.over.done() or self.wire.is_full or self._replaying is not None:
            return
        if self in self.tail.live:
            return  # It got there before its turn came, and is written to by the tail.
        if self._next is None:
            self._begin()
        if self._next is not None:
            self._catch_up(self._next)

    # Catching up

    @property
    def _knows_the_end(self) -> bool:
        return self.tail.answered >= self._asked or self.tail.is_over

    def _begin(self) -> None:
        """Find the place to start from; a client whose cursor can't be proven is told to forget."""
        self._next = self.tail.number_after(self._after)
        if self._next is None and self._knows_the_end:
            self._write(chunk(self.tail.dialect.reset(str(self._after))))
            self._next = self.tail.number_after(START)
        if self._next is None:
            self.tail.waiting.add(self)
        else:
            self.tail.waiting.discard(self)

    def _catch_up(self, number: int) -> None:
        tail = self.tail
        if number < tail.first:
            self._replaying = asyncio.create_task(self._replay(number))
            return
        last = tail.last_behind(number)
        if number < tail.end:
            # First the number: the write may find the wire full.
            piece, self._next = tail.piece(number)
            self._write(piece)
        if self._next == last or (self._next == tail.end and tail.is_over):
            self.close(is_whole=self._next == last or tail.ended)
        elif self._next != tail.end:
            self._go_on_soon()
        elif not self.wire.is_full:
            tail.live[self] = self._write

    def _go_on_soon(self) -> None:
        """After others had their turn."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self.go_on)

    async def _replay(self, number: int) -> None:
        self._room = asyncio.Event()
        try:
            async with aclosing(replay(self._logs, self.tail, number)) as pieces:
                async for piece, behind in pieces:
                    if self.over.done():
                        return  # Python 3.11's `asyncio.wait_for` swallows a cancellation now and then.
                    self._next = behind
                    self._write(piece)
                    while self.wire.is_full:
                        self._room.clear()
                        await self._room.wait()
        except BaseException:
            self.close()
            raise
        self._replaying = self._room = None
        if self._next == self.tail.last_behind(number):
            self.close(is_whole=True)
        elif (self._next or 0) < self.tail.first:
            self.close()  # The log has gone meanwhile; who comes back is told so.
        else:
            self.go_on()

    # Told by the wire

    def full(self) -> None:
        """It catches up when there is room."""
        self.full_since = asyncio.get_running_loop().time()
        if self.tail.live.pop(self, None) is not None:
            self._next = self.tail.end

    def room(self) -> None:
        """There is."""
        self.full_since = None
        if self._room is not None:
            self._room.set()
        self._go_on_soon()

    def lost(self) -> None:
        """The client has gone."""
        self.close()
