"""Clients that take nothing of what the system holds for them.

A wire is full only once the system's own buffer is. Until then a client that stopped reading, or whose
machine died, looks like one that has everything; only the system knows what was acknowledged. Its own
deadline for that (TCP_USER_TIMEOUT) does not do: it also ends connections of clients that read steadily, but
less at a time than the system has for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from tokentail.api.follower import Follower

#: Every follower is looked at so often within its deadline: that is how exact the deadline is. A look takes
#: five microseconds.
LOOKS = 4


class Stuck:
    """Finds them, a slice of all followers at each `look`, which is to be called every `look_seconds`."""

    def __init__(self, send_seconds: float, look_seconds: float) -> None:
        self._send_seconds = send_seconds
        self._share = min(1.0, LOOKS * look_seconds / send_seconds)
        self._round: Iterator[Follower] = iter(())
        self._slice = 0
        #: What those that have not taken everything had taken, and since when (loop time) it is no more.
        self._waited: dict[Follower, tuple[int, float]] = {}
        self._before: dict[Follower, tuple[int, float]] = {}

    def look(self, followers: Iterable[Follower], now: float) -> list[Follower]:
        """Those of the next slice that took nothing for `send_seconds` while there was something to take."""
        found = []
        for follower in self._next_slice(followers):
            taken = None if follower.over.done() else follower.wire.taken()
            if taken is None:
                continue
            known = self._before.get(follower)
            self._waited[follower] = waited = known if known and known[0] == taken else (taken, now)
            if now - waited[1] > self._send_seconds:
                found.append(follower)
        return found

    def _next_slice(self, followers: Iterable[Follower]) -> list[Follower]:
        some = list(islice(self._round, self._slice))
        if not some:
            # A round is over: who was not met in it any more has left, or has everything.
            self._before, self._waited = self._waited, {}
            everybody = list(followers)
            self._slice = max(1, round(len(everybody) * self._share))
            self._round = iter(everybody)
            some = list(islice(self._round, self._slice))
        return some
