"""How long to keep trying, and how long to wait in between."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """The patience of a client. The defaults outlast a server's restart and annoy nobody.

    `calls` bounds one request (submit, get, cancel, …), `connections` bounds how often in a row a
    follower may fail to be connected before it gives up. A follower that receives something starts
    counting anew.
    """

    calls: int = 5
    connections: int = 12

    #: Doubled after each failure. Half of every wait is random, so that the clients that a server lost
    #: together do not come back together.
    first_seconds: float = 0.25
    longest_seconds: float = 10.0

    #: A server that wants us to stay away for longer than this is not waited for.
    longest_retry_after_seconds: float = 60.0

    #: A follower that has not heard a byte for this long takes its connection for dead. It is three of
    #: the server's heartbeats.
    silence_seconds: float = 45.0

    def wait_seconds(self, failures: int, wish: float | None = None) -> float:
        """How long to wait after so many failures in a row. Never shorter than a server wished for; it
        wishes the same for all that it refuses, so a part of that is random, too."""
        # 2**30 is far beyond any bound here and keeps the power from overflowing.
        full = min(self.first_seconds * 2.0 ** min(failures - 1, 30), self.longest_seconds)
        chance = random.random()  # noqa: S311 - spreading load, not keeping a secret
        return max(full * (0.5 + chance / 2), (wish or 0) * (1 + chance / 2))
