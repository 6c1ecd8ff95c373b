"""One attempt's pen: what it has written, and how much of that Redis has confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from tokentail.shared import keys
from tokentail.shared.errors import Superseded
from tokentail.shared.events import Event, encode
from tokentail.shared.log import Entry
from tokentail.worker.backlog import Backlog

if TYPE_CHECKING:
    from tokentail.worker.lane import Lane


class Writer:
    """One attempt's pen. Entry `seq` of the attempt is `entries[seq]`; the first `acked` are stored.

    `unsure` means that Redis may have forgotten some of what it had stored: its lane asks before it goes on.
    """

    def __init__(
        self, job_id: str, opening: Entry, *, ttl_seconds: float, backlog: Backlog, bytes_before: int
    ) -> None:
        self.job_id = job_id
        self.key = keys.log(job_id)
        self.fence = opening.cursor.fence
        self.ttl_seconds = ttl_seconds
        self.entries = [opening.raw]
        self.acked = 1
        #: The most that ever was stored: what followers may have seen.
        self.known = 1
        self.unsure = False
        #: The log is somebody else's, or gone.
        self.lost = False
        #: Redis has no memory for more: what is stored stays, and what comes is dropped.
        self.full = False
        self.closed = False
        #: Called once when a newer attempt, an ending or a deletion has taken the log away.
        self.on_lost: Callable[[], None] | None = None
        #: Called once when Redis has no memory for more. An ending can be stored all the same; `entries` is
        #: then what the log holds of this attempt.
        self.on_full: Callable[[], None] | None = None

        #: Who sends for us; it changes when the log moves to another node.
        self.lane: Lane | None = None
        #: The node that has sent us on for now, as the log's slot is on its way; who has been sent asks with
        #: ASKING. What the other one does not have, the first may have again by now.
        self.sent_by: str | None = None
        #: Nothing was asked since.
        self.just_sent = False
        #: How often it was sent to another node since something was stored.
        self.redirections = 0

        self._backlog = backlog
        self._unsent = 0
        self._bytes = bytes_before + len(opening.raw)
        self._progress = asyncio.Event()

    @property
    def log_bytes(self) -> int:
        """How large the log is: the memory it took before this attempt, and the attempt's own entries."""
        return self._bytes

    @property
    def has_room(self) -> bool:
        """Whether the process may take in more; if not, wait for `room`."""
        return self._backlog.has_room

    def append(self, event: Event) -> None:
        """Take an event in; it goes out with the next flush. Never waits."""
        raw = encode(event)
        if self.full:
            return
        self.entries.append(raw)
        self._bytes += len(raw)
        self._count(len(raw))
        self.notice()

    def notice(self) -> None:
        """Have somebody look whether there is something to send."""
        if self.lane is not None:
            self.lane.notice(self)

    async def room(self) -> None:
        """Wait until the process may take in more; returns at once while it may, and for a writer that takes
        nothing in any more. Raises Superseded if the log is lost."""
        self._backlog.waiting.add(self._progress)
        try:
            while not (self._backlog.has_room or self.lost or self.full):
                self._progress.clear()
                await self._progress.wait()
        finally:
            self._backlog.waiting.discard(self._progress)
        self._must_not_be_lost()

    async def flushed(self) -> None:
        """Wait until everything taken in is stored. Raises Superseded if it never will be."""
        while (self.unsure or self.acked < len(self.entries)) and not self.lost:
            self._progress.clear()
            await self._progress.wait()
        self._must_not_be_lost()

    def _must_not_be_lost(self) -> None:
        if self.lost:
            raise Superseded(f"The log of {self.job_id} is no longer this attempt's.")

    # For the appender and its lanes

    def moved(self, acked: int) -> None:
        """This many entries are stored; fewer than before if Redis has forgotten some."""
        low, high = sorted((acked, self.acked))
        size = sum(map(len, self.entries[low:high]))
        self._count(-size if acked > self.acked else size)
        self.acked = acked
        self.known = max(self.known, acked)
        self._progress.set()

    def fill(self) -> None:
        """There is no memory for what is not stored yet: forget it."""
        dropped = sum(map(len, self.entries[self.acked :]))
        del self.entries[self.acked :]
        self._bytes -= dropped
        self._count(-dropped)
        self._progress.set()
        if not self.full:
            self.full = True
            if self.on_full is not None:
                self.on_full()

    def give_up(self) -> None:
        """The log is somebody else's."""
        if not self.lost:
            self.lost = True
            self._count(-self._unsent)
            self._progress.set()
            if self.on_lost is not None:
                self.on_lost()

    def close(self) -> None:
        """Nothing of it will be sent any more."""
        self._count(-self._unsent)
        self.closed = True
        # They hold the attempt, which holds us: only a full collection would find all the entries.
        self.on_lost = self.on_full = None

    def _count(self, size: int) -> None:
        if size and not self.closed:
            self._unsent += size
            self._backlog.add(size)
