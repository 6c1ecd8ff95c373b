"""A sweeper that looks at a job in the moment in which that is deleted."""

from __future__ import annotations

import asyncio

import pytest
from following import Client, tails_at
from given import PATIENCE_SECONDS, TENANT, at_work, enqueued
from redis.asyncio import Redis

from tokentail.api import sweeper as sweeper_module
from tokentail.api.sweeper import Sweeper
from tokentail.shared.job import Record
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


class Deleting(Queue):
    """A queue whose jobs are deleted by somebody else as soon as their record has been read."""

    async def record(self, job_id: str) -> Record | None:
        record = await super().record(job_id)
        if record is not None and record.unlogged:
            await self.delete(TENANT, job_id)
        return record


async def test_jobs_that_are_deleted_while_they_are_looked_at_end_their_followers_and_nothing_else(
    redis_url: str, redis: Redis, settings: Settings, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a sweeper
    monkeypatch.setattr(sweeper_module, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(sweeper_module, "CHECK_SECONDS", 0.05)
    queue = Deleting(redis, settings)
    async with tails_at(redis_url) as tails, at_work(Sweeper(tails, queue, logs, settings).run()):
        for _ in range(2):
            # When it reads the record of a job that was cancelled by a process that died before the log was
            # told, and the job is deleted before it can tell the log
            client = Client(tails, (record := await enqueued(queue)).id)
            await queue.cancel(TENANT, record.id)
            # Then the follower's stream ends, and so it does the next time
            async with asyncio.timeout(PATIENCE_SECONDS):
                await client.ended()
