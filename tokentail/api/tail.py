"""One watched log in memory, in one dialect: its entries as they go out, encoded once however many follow."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from tokentail.api.dialects.dialect import NATIVE, Dialect
from tokentail.api.wire import chunk
from tokentail.shared import events, keys
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.exchange import word

if TYPE_CHECKING:
    from tokentail.api.follower import Follower

#: Most bytes that go out in one write: a client that is far behind catches up in pieces, so that others
#: get their turn in between, and its send deadline measures a stall and not a slow line.
PIECE_BYTES = 64 * 1024


class Tail:
    """A log's entries, numbered from 0, as chunks that can be written as they are.

    It holds those from `first` to `end`, all of them unless memory was short. `ended` once the last is an
    ending; `gone` once the log is known to be no more. Entries only ever arrive at the end; `deliver` tells
    the followers.

    A dialect may say that a client which has come to some entry is told nothing more. Who comes later begins
    behind the last such entry.

    Invariant: between two calls, every follower in `live` has been given everything up to `end`.
    """

    def __init__(self, job_id: str, dialect: Dialect = NATIVE) -> None:
        self.job_id = job_id
        self.dialect = dialect
        self._render = dialect.rendering()
        self.key = keys.log(job_id).encode()
        self.key_word = word(self.key)
        #: The id of the newest entry, as Redis writes it: what the reader has read up to. And as a word of a
        #: command, for a thousand of them are sent with each read.
        self.position = str(START).encode()
        self.position_word = word(self.position)
        self.first = 0
        self.end = 0
        self._held = bytearray()
        #: Where each entry ends, counted in all bytes there ever were; `_dropped` of them are not held.
        self._ends = array("Q")
        self._dropped = 0
        #: The numbers behind which those who came before are told nothing more, rising.
        self._last: list[int] = []
        #: Where each run of entries that count up within a fence begins: cursor and number, both rising.
        self._runs: list[tuple[Cursor, int]] = []
        #: The id that would go on with the newest run: its fence with the dash, and the next number.
        self._next = self._fence = b""
        self._seq = 0
        #: How often followers have asked for a read to the log's end, and how many of these askings a read
        #: that began after them has answered.
        self.asked = self.answered = 0
        self.ended = False
        self.gone = False
        self.followers: set[Follower] = set()
        #: Those that wait for a read to the log's end.
        self.waiting: set[Follower] = set()
        #: Those that have been given everything, with what writes to them.
        self.live: dict[Follower, Callable[[bytes], None]] = {}
        now = asyncio.get_running_loop().time()
        #: When (loop time) the log last gave a sign of life: an entry, or a look at its record.
        self.heard_at = now
        #: When (loop time) the live followers were last told something.
        self.told_at = now
        #: When (loop time) its last follower left, or its ending was read if that was before.
        self.left_at = now

    @property
    def is_loaded(self) -> bool:
        """Whether every follower that asked for a read to the log's end has had it."""
        return self.answered == self.asked

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.gone

    # Coming in

    def add(self, entry_id: bytes, raw: bytes) -> int:
        """Take the log's next entry in, as Redis has it. Returns how much more is held."""
        if entry_id == self._next:
            self._seq += 1
        else:
            cursor = Cursor.parse(entry_id)
            self._runs.append((cursor, self.end))
            self._fence, self._seq = b"%d-" % cursor.fence, cursor.seq + 1
        self._next = b"%b%d" % (self._fence, self._seq)
        frames = self._render(entry_id, raw)
        # An empty chunk would end the response.
        written = chunk(frames.data) if frames.data else b""
        self._held += written
        self._ends.append(self._dropped + len(self._held))
        self.end += 1
        self.ended = events.is_ending(raw)
        if frames.is_last:
            self._last.append(self.end)
        self.position, self.position_word = entry_id, word(entry_id)
        return len(written) + self._ends.itemsize

    def deliver(self, since: int) -> None:
        """Give the followers what has come since that entry, and what else has changed."""
        last = self.last_behind(since) if self.live else None
        # Before the writes: who is filled by the last thing is live no more, and is done with all the same.
        done = tuple(self.live) if self.is_over or last is not None else ()
        if since < self.end and self.live:
            news = self._bytes(since, self.end if last is None else last)
            self.told_at = asyncio.get_running_loop().time()
            # A copy: who can take no more leaves while it is being written to.
            for write in tuple(self.live.values()):
                write(news)
        for follower in done:
            follower.close(is_whole=self.ended or last is not None)
        for follower in tuple(self.waiting):
            follower.go_on()

    # Going out

    def piece(self, start: int) -> tuple[bytes, int]:
        """The entries from that number on, as many as go out in one write, and the number behind them."""
        most = self._offset(start) + PIECE_BYTES
        stop = min(self.end, self.first + bisect_left(self._ends, most, start - self.first) + 1)
        last = self.last_behind(start)
        stop = stop if last is None else min(stop, last)
        return self._bytes(start, stop), stop

    def last_behind(self, number: int) -> int | None:
        """Where who has come to that number is told the last thing, if anywhere yet."""
        place = bisect_right(self._last, number)
        return self._last[place] if place < len(self._last) else None

    def _bytes(self, start: int, stop: int) -> bytes:
        base = self._dropped
        with memoryview(self._held) as held:
            return bytes(held[self._offset(start) - base : self._offset(stop) - base])

    def _offset(self, number: int) -> int:
        return self._ends[number - self.first - 1] if number > self.first else self._dropped

    def shed(self) -> int:
        """Let go of all entries; who needs them reads them from Redis. Returns how much less is held."""
        less = len(self._held) + self._ends.itemsize * len(self._ends)
        self._dropped += len(self._held)
        self._held = bytearray()
        self._ends = array("Q")
        self.first = self.end
        return less

    # Cursors

    def number_after(self, cursor: Cursor) -> int | None:
        """Where a client goes on that has seen everything up to `cursor`; None if the log can't prove it:
        an entry it never held, or one beyond its end."""
        if cursor == START:
            return self._last[-1] if self._last else 0
        run = bisect_right(self._runs, cursor, key=lambda run: run[0]) - 1
        if run < 0:
            return None
        begin, number = self._runs[run]
        behind = self._runs[run + 1][1] if run + 1 < len(self._runs) else self.end
        found = number + cursor.seq - begin.seq
        return found + 1 if cursor.fence == begin.fence and found < behind else None

    def cursor_before(self, number: int) -> Cursor:
        """The cursor of one who has everything up to that entry, without it."""
        if number == 0:
            return START
        run = bisect_right(self._runs, number - 1, key=lambda run: run[1]) - 1
        begin, first = self._runs[run]
        return Cursor(begin.fence, begin.seq + number - 1 - first)
