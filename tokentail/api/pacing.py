"""How often logs are read: at once while there is little to read, then in larger pieces. Pure."""

from __future__ import annotations

import math

#: Between the beginnings of two reads: what a delta waits for at most, far below what a reader notices.
TICK_SECONDS = 0.005

#: Up to so many entries a second, latency comes first. A read costs Redis some 0.6 µs for each watched log,
#: whether it brings something or not, and the appends need the same core: a thousand logs, read 200 times a
#: second for 20,000 entries, cost 6 µs for each on top of the 5 µs for writing it and for handing it out.
CALM_ENTRIES_PER_SECOND = 10_000.0

#: With twice as many, a read each 30 ms costs 1 µs per entry; it is never put off for longer than this.
SECONDS_PER_ENTRY_A_SECOND = 0.025 / CALM_ENTRIES_PER_SECOND
LONGEST_TICK_SECONDS = 0.04

#: Over how much time the rate is averaged: long enough to smooth over some reads, short enough to follow a
#: burst.
AVERAGE_SECONDS = 0.5


class Pacing:
    """Counts what reads bring."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._at = -math.inf

    def took(self, entries: int, now: float) -> None:
        """A read has brought so many entries; `now` in seconds of any steady clock."""
        passed = now - self._at
        self._rate = self._rate * math.exp(-passed / AVERAGE_SECONDS) + entries / AVERAGE_SECONDS
        self._at = now

    @property
    def tick_seconds(self) -> float:
        """How long after the beginning of a read the next one is to begin."""
        more = max(0.0, self._rate - CALM_ENTRIES_PER_SECOND)
        return min(LONGEST_TICK_SECONDS, TICK_SECONDS + more * SECONDS_PER_ENTRY_A_SECOND)
