"""What a process holds that Redis has not stored yet, and its limit."""

from __future__ import annotations

import asyncio


class Backlog:
    """Bytes of entries that were taken in and are not acknowledged, over all writers of a process."""

    def __init__(self, limit_bytes: float) -> None:
        self.bytes = 0
        self._limit_bytes = limit_bytes
        #: Set when there is room again; each belongs to a writer somebody waits for.
        self.waiting: set[asyncio.Event] = set()

    @property
    def has_room(self) -> bool:
        """Whether more may be taken in. The last that is may exceed the limit."""
        return self.bytes < self._limit_bytes

    def add(self, count: int) -> None:
        """So many bytes more, or less."""
        self.bytes += count
        if self.has_room:
            for event in self.waiting:
                event.set()
