"""A follower of a job that has ended, in a process that has not read so far; and one that leaves."""

from __future__ import annotations

import asyncio

from events_endpoint import EventsEndpoint
from following import tails_at
from given import (
    PATIENCE_SECONDS,
    RESULT,
    attempt,
    completed,
    delta,
    enqueued,
    eventually,
    running,
    written,
)
from redis.asyncio import Redis

from tokentail.api.tails import Tails
from tokentail.shared import events, keys, tasks
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.log import Logs
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue


async def test_it_gets_the_ending_and_is_not_told_that_the_log_has_expired(
    queue: Queue, logs: Logs, redis: Redis, redis_url: str
) -> None:
    # Given a log that is followed here and was read so far, before its job ended
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt(), delta("a"))
    async with OneServer(redis_url) as plane:
        tails = Tails(plane)
        there = tails.follow(claim.job_id, START, lambda: None)
        reading = asyncio.create_task(tails.run())
        await eventually(lambda: there.tail.is_loaded and there.tail.frames)
        await tasks.end(reading)
        cursor = Cursor(claim.fence, 2)
        await redis.xadd(keys.log(claim.job_id), {"e": events.encode(completed())}, id=str(cursor))
        await queue.finish(claim.job_id, claim.fence, cursor, completed(), RESULT)
        # When somebody else follows it, before anything more was read
        late = EventsEndpoint(claim.job_id, redis=redis, plane=plane, queue=queue, logs=logs, tails=tails)
        following = asyncio.create_task(late.run())
        await eventually(lambda: len(there.tail.followers) == 2)
        await asyncio.sleep(0)
        # Then it is told nothing until that has been
        assert not late.sent
        reading = asyncio.create_task(tails.run())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await following
        await tasks.end(reading)
    assert late.sent[0]["status"] == 200
    assert b"event: completed" in late.body


async def test_a_client_that_has_left_is_a_follower_no_more(
    queue: Queue, logs: Logs, redis: Redis, redis_url: str
) -> None:
    # Given a client that follows a job that waits
    record = await enqueued(queue)
    async with tails_at(redis_url) as tails, OneServer(redis_url) as plane:
        client = EventsEndpoint(record.id, redis=redis, plane=plane, queue=queue, logs=logs, tails=tails)
        following = asyncio.create_task(client.run())
        await eventually(lambda: client.sent)
        # When it leaves, in silence
        client.leave()
        # Then nothing of it is kept, and nobody watches the log
        async with asyncio.timeout(PATIENCE_SECONDS):
            await following
        assert tails.all() == []
