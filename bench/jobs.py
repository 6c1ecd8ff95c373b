"""Jobs put straight into the queue, and what becomes of them: for measures that leave HTTP out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from bench.scenarios import MESSAGES
from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

_TENANT = "bench"
#: Rarely enough to leave the CPU to those who are measured.
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 120.0


class Jobs:
    """One tenant's jobs in one installation."""

    def __init__(self, redis_url: str) -> None:
        self.redis: Redis = store.client(redis_url, timeout_seconds=None)
        self._queue = Queue(self.redis, Settings(redis_url=redis_url))

    async def submit(self, model: str) -> str:
        """Enqueue one job as the API does; returns its id."""
        request = ChatRequest.model_validate({"model": model, "messages": MESSAGES})
        record, _ = await self._queue.enqueue(_TENANT, request, None)
        return record.id

    async def start(self, model: str, count: int) -> list[str]:
        """Enqueue many jobs."""
        return [await self.submit(model) for _ in range(count)]

    async def streaming(self, jobs: Sequence[str]) -> None:
        """Wait until each has said something."""

        async def check() -> bool:
            pipe = self.redis.pipeline(transaction=False)
            for job in jobs:
                pipe.xlen(keys.log(job))
            # The first entry is the attempt itself, the second a delta.
            return bool(min(await pipe.execute()) >= 2)

        await _until(check, "all jobs stream")

    async def idle(self) -> None:
        """Wait until no job waits or runs."""

        async def check() -> bool:
            pipe = self.redis.pipeline(transaction=True)
            pipe.zcard(keys.READY)
            pipe.zcard(keys.LEASES)
            return not any(await pipe.execute())

        await _until(check, "no job waits or runs")

    async def completed(self, jobs: Sequence[str], tokens: int) -> None:
        """Raises RuntimeError if one of these ended otherwise, or without this many tokens in its log."""
        for job in jobs:
            record = await self._queue.get(_TENANT, job)
            # The attempt and the ending are entries too.
            deltas = await self.redis.xlen(keys.log(job)) - 2
            if record.status != "completed" or deltas != tokens:
                raise RuntimeError(f"{job} is {record.status} with {deltas} tokens: {record.ending}")

    async def cancel(self, jobs: Sequence[str]) -> None:
        """End jobs, and wait until nothing runs."""
        for job in jobs:
            await self._queue.cancel(_TENANT, job)
        await self.idle()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.redis.aclose()


async def _until(check: Callable[[], Awaitable[bool]], what: str) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await check():  # noqa: ASYNC110 -- Redis has no event for it
            await asyncio.sleep(_POLL_SECONDS)
