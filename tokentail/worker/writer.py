"""One attempt's pen: what it has written, and how much of that Redis has confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tokentail.shared.errors import Superseded
from tokentail.shared.events import Event, encode
from tokentail.shared.log import Entry


class Writer:
    """One attempt's pen. Entry `seq` of the attempt is `entries[seq]`; the first `acked` are stored.

    `notice` is called whenever there is something to flush. `unsure` means that Redis may have forgotten
    some of what it had stored: the appender asks before it goes on.
    """

    def __init__(
        self, notice: Callable[[Writer], None], job_id: str, opening: Entry, ttl_seconds: float
    ) -> None:
        self.job_id = job_id
        self.fence = opening.cursor.fence
        self.ttl_seconds = ttl_seconds
        self.entries = [opening.raw]
        self.acked = 1
        self.unsure = False
        self.lost = False
        #: Called once when a newer attempt, an ending or a deletion has taken the log away.
        self.on_lost: Callable[[], None] | None = None
        self._notice = notice
        self._progress = asyncio.Event()

    def append(self, event: Event) -> None:
        """Take an event in; it goes out with the next flush. Never waits."""
        self.entries.append(encode(event))
        self._notice(self)

    async def flushed(self) -> None:
        """Wait until everything taken in is stored. Raises Superseded if it never will be."""
        while (self.unsure or self.acked < len(self.entries)) and not self.lost:
            self._progress.clear()
            await self._progress.wait()
        if self.lost:
            raise Superseded(f"The log of {self.job_id} is no longer this attempt's.")

    def moved(self, acked: int) -> None:
        """For the appender: this many entries are stored."""
        self.acked = acked
        self._progress.set()

    def give_up(self) -> None:
        """For the appender: the log is somebody else's."""
        if not self.lost:
            self.lost = True
            self._progress.set()
            if self.on_lost is not None:
                self.on_lost()
