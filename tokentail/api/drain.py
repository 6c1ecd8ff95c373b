"""Ending the streams of a process that was told to stop."""

from __future__ import annotations

import asyncio
import math
import random

from tokentail.api.follower import Follower
from tokentail.api.tails import Tails
from tokentail.shared import tasks

#: Between two handfuls. Those that go together come back together, somewhere else: of five thousand over
#: five seconds, a hundred.
STEP_SECONDS = 0.1


class Drain:
    """Ends them evenly over a window: all at once would be a storm for whoever serves them next.

    Meanwhile the process still listens, so that who has not heard that it is stopping gets an answer.
    """

    def __init__(self, tails: Tails, seconds: float) -> None:
        self._tails = tails
        self._seconds = seconds
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Wait no longer. Any number of times."""
        self._hurried.set()

    async def run(self) -> None:
        """End streams until the window is over; then it is time to `end_all`."""
        loop = asyncio.get_running_loop()
        over_at = loop.time() + self._seconds
        most = len(self._followers())
        while not self._hurried.is_set() and (left := over_at - loop.time()) > 0:
            followers = self._followers()
            most = max(most, len(followers))
            # By chance, so that one job's do not all come back to one place at one moment.
            for follower in random.sample(followers, surplus(len(followers), most, left / self._seconds)):
                follower.close()
            await tasks.happens(self._hurried, min(left, STEP_SECONDS))

    def end_all(self) -> None:
        """End whatever is still there, or there again."""
        for follower in self._followers():
            follower.close()

    def _followers(self) -> list[Follower]:
        return [follower for tail in self._tails.followed() for follower in tail.followers]


def surplus(now: int, most: int, share_left: float) -> int:
    """How many of `now` streams to end, of `most` at the beginning, with that share of the window left."""
    return max(0, now - math.ceil(most * share_left))
