"""A pool at work on a real Redis, with a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from signal import Signals
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis
from attempting import Shop, shop
from given import TENANT, eventually
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.job import Status
from tokentail.shared.queue import Queue
from tokentail.worker.pool import Pool


@dataclass
class Work:
    """A pool at work. `done` is its task."""

    shop: Shop
    pool: Pool
    done: asyncio.Task[None]

    @property
    def queue(self) -> Queue:
        return self.shop.queue

    @property
    def redis(self) -> Redis:
        return self.shop.redis

    async def status(self, job_id: str) -> Status:
        return (await self.queue.get(TENANT, job_id)).status

    async def has(self, job_id: str, status: str) -> None:
        async def holds() -> bool:
            return await self.status(job_id) == status

        await eventually(holds)

    async def saying(self, job_id: str) -> None:
        """Wait until the job's first delta is in its log."""

        async def said() -> bool:
            return await self.redis.xlen(keys.log(job_id)) > 1

        await eventually(said)

    async def pause(self) -> None:
        """Have the pool claim nothing until `allow_pick_jobs` again, not even by a claim on its way."""
        self.pool.allow_pick_jobs = False
        async with self.pool._claiming:
            pass

    def signal(self) -> None:
        self.pool.handle_sig(Signals.SIGTERM)

    async def over(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(20):
                await self.done


@asynccontextmanager
async def work(
    url: str, *scripts: list[Any], helpers: Iterable[Coroutine[Any, Any, None]] = (), **settings: Any
) -> AsyncIterator[Work]:
    settings = {"drain_seconds": 20, **settings}
    async with shop(url, *scripts, **settings) as at, store.client(url) as listening:
        ready: list[str] = []
        pool = Pool(
            redis=ArqRedis(store.pool(url), job_serializer=orjson.dumps, job_deserializer=orjson.loads),
            listening=listening,
            queue=at.queue,
            new_attempt=at.attempt,
            helpers=helpers,
            settings=at.settings,
            on_ready=ready.append,
        )
        done = asyncio.create_task(pool.async_run())
        await eventually(lambda: ready or done.done())
        try:
            yield Work(at, pool, done)
        finally:
            if not done.done():
                pool.handle_sig(Signals.SIGTERM)
                pool.handle_sig(Signals.SIGTERM)
            await asyncio.wait([done])
            await pool.close()
