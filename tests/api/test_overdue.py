"""A job that waited too long ends without any worker, and its followers are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from following import Client, tails_at
from given import PATIENCE_SECONDS, TENANT, at_work, clock_passes, enqueued, eventually, read
from redis.asyncio import Redis

from tokentail.api import overdue as overdue_module
from tokentail.api.overdue import Overdue
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


@pytest.fixture
def impatient(redis: Redis) -> Queue:
    return Queue(redis, Settings(queue_seconds=0.02))


async def test_its_followers_see_the_ending(
    redis_url: str, redis: Redis, impatient: Queue, logs: Logs
) -> None:
    # Given a follower of a job that nobody claims
    record = await enqueued(impatient)
    async with tails_at(redis_url) as tails:
        client = Client(tails, record.id)
        await clock_passes(redis, record.start_by)
        # When the queue is looked through
        await Overdue(impatient, logs).look()
        # Then the follower is told, and the stream ends
        async with asyncio.timeout(PATIENCE_SECONDS):
            await client.task
        assert b'"code":"deadline_exceeded"' in client.raw


async def test_more_than_a_page_of_them_ends_in_one_look(redis: Redis, impatient: Queue, logs: Logs) -> None:
    records = [await enqueued(impatient) for _ in range(120)]
    await clock_passes(redis, records[-1].start_by)
    await Overdue(impatient, logs).look()
    for record in records:
        assert (await impatient.get(TENANT, record.id)).status == "failed"
        assert len(await read(logs, record.id)) == 1


async def test_it_looks_again_and_again_also_after_redis_was_away(
    redis: Redis, impatient: Queue, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue_module, "LOOK_SECONDS", 0.01)
    real, asked = impatient.expire, []

    async def away_at_first() -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise StoreUnavailable("Redis does not answer.")
        return await real()

    monkeypatch.setattr(impatient, "expire", away_at_first)
    record = await enqueued(impatient)

    async def ended() -> bool:
        return (await impatient.get(TENANT, record.id)).status == "failed"

    async with at_work(Overdue(impatient, logs).run()):
        await eventually(ended)


async def test_a_job_that_is_deleted_at_that_moment_leaves_nothing(
    redis: Redis, impatient: Queue, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that is deleted between its ending and the telling
    record = await enqueued(impatient)
    await clock_passes(redis, record.start_by)
    real = logs.append

    async def deleted_first(*args: Any, **more: Any) -> Any:
        await impatient.delete(TENANT, record.id)
        return await real(*args, **more)

    monkeypatch.setattr(logs, "append", deleted_first)
    # Then the look goes on
    await Overdue(impatient, logs).look()
    assert await impatient.record(record.id) is None
