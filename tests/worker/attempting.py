"""Attempts at real jobs on a real Redis, with a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from given import TENANT, claimed, enqueued, eventually, whole_log
from redis.asyncio import Redis
from scripted import ScriptedModels
from writing import Desk, desk

from tokentail.shared.claim import Claim
from tokentail.shared.job import Record
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.worker.appender import UNSENT_LIMIT_BYTES
from tokentail.worker.attempt import Attempt


@dataclass
class Shop:
    """A queue, an appender and a scripted model; makes attempts."""

    desk: Desk
    queue: Queue
    settings: Settings
    models: ScriptedModels
    running: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def redis(self) -> Redis:
        return self.desk.redis

    def attempt(self, claim: Claim) -> Attempt:
        return Attempt(
            claim,
            queue=self.queue,
            logs=self.desk.logs,
            appender=self.desk.appender,
            models=self.models,  # type: ignore[arg-type]
            settings=self.settings,
        )

    async def claimed(self, **fields: Any) -> Attempt:
        await enqueued(self.queue, **fields)
        return self.attempt(await claimed(self.queue))

    def start(self, attempt: Attempt) -> asyncio.Task[Any]:
        task = asyncio.create_task(attempt.run())
        self.running.append(task)
        return task

    async def record(self, attempt: Attempt) -> Record:
        return await self.queue.get(TENANT, attempt.claim.job_id)

    async def log(self, attempt: Attempt) -> list[tuple[str, Any]]:
        return await whole_log(self.redis, attempt.claim.job_id)

    async def until_said(self, attempt: Attempt, count: int) -> None:
        """Wait until so many deltas are in the log, and the model was asked for the next."""

        async def said() -> bool:
            return len(await self.log(attempt)) > count

        await eventually(said)


@asynccontextmanager
async def shop(
    url: str,
    *scripts: list[Any],
    look_url: str | None = None,
    has_other: bool = False,
    unsent_limit_bytes: float = UNSENT_LIMIT_BYTES,
    **settings: Any,
) -> AsyncIterator[Shop]:
    async with desk(url, look_url, unsent_limit_bytes=unsent_limit_bytes) as made:
        conf = Settings(redis_url=url, **settings)
        queue = Queue(made.redis, conf)
        open_ = Shop(made, queue, conf, ScriptedModels(*scripts, has_other=has_other))
        try:
            yield open_
        finally:
            for task in open_.running:
                task.cancel()
            await asyncio.gather(*open_.running, return_exceptions=True)
