"""The load of a soak: jobs that come and end, followers that come and go."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from bench.reliability.clients import Clients
from tokentail.shared import tasks

#: Ten seconds at about 30 tokens a second.
STREAM = "counted?tokens=300&pace_ms=33"
#: A quarter as long, so that not all is in step.
SHORT_STREAM = "counted?tokens=75&pace_ms=33"
_MODELS = (STREAM, STREAM, SHORT_STREAM)

#: Of all jobs: so many are cancelled on their way, and have a second follower, which drops its connection.
_CANCELLED_SHARE = 0.05
_SECOND_SHARE = 0.5
#: When they are cancelled, and after how many tokens that connection is dropped.
_CANCEL_SECONDS = (0.5, 2.0)
_DROP_TOKENS = (1, 60)


class Load:
    """So many clients, each with one job after the other. `set` changes their number at any time."""

    def __init__(self, clients: Clients) -> None:
        #: Jobs by their ending, tokens (as followers got them), followers, connections.
        self.counts: Counter[str] = Counter()
        self._clients = clients
        self._running: list[asyncio.Task[None]] = []

    def set(self, streams: int) -> None:
        """From now on so many at a time. Who is one too many is cut off, its job too."""
        while len(self._running) < streams:
            self._running.append(asyncio.create_task(self._client()))
        for task in self._running[streams:]:
            task.cancel()
        del self._running[streams:]

    def check(self) -> None:
        """Raises what ended a client, if anything did."""
        for task in self._running:
            if task.done():
                task.result()

    async def aclose(self) -> None:
        """End all clients."""
        await tasks.end(*self._running)

    async def _client(self) -> None:
        # Not all at once.
        await asyncio.sleep(random.uniform(0, 1))
        while True:
            await self._one_job()

    async def _one_job(self) -> None:
        job = await self._clients.submit(random.choice(_MODELS))
        followers = [self._clients.follow(job)]
        if random.random() < _SECOND_SHARE:
            followers.append(self._clients.follow(job, drop_after=random.randint(*_DROP_TOKENS)))
        if random.random() < _CANCELLED_SHARE:
            await asyncio.sleep(random.uniform(*_CANCEL_SECONDS))
            await self._clients.cancel(job)
        for follower in followers:
            await follower.heard(lambda f=follower: f.ended_at)  # type: ignore[misc]
            self.counts["tokens"] += follower.deltas
            self.counts["connections"] += follower.connections
        self.counts["followers"] += len(followers)
        self.counts[str(followers[0].ending)] += 1
