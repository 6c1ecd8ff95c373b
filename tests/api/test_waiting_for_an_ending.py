"""A request that waits for a job's ending."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
from following import Client, tails_at
from given import PATIENCE_SECONDS, RESULT, attempt, completed, eventually, running, written
from redis.asyncio import Redis

from tokentail.api import jobs
from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.events import encode
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue


def asked(wait: str, **context: Any) -> Any:
    """A request with its context."""
    app = SimpleNamespace(state=SimpleNamespace(context=SimpleNamespace(**context)))
    return SimpleNamespace(app=app, query_params={"wait": wait})


async def test_who_waits_takes_nothing_from_those_who_follow(
    queue: Queue, logs: Logs, redis: Redis, redis_url: str
) -> None:
    # Given a follower of a job that runs
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt())
    async with tails_at(redis_url) as tails:
        there = Client(tails, claim.job_id)
        await there.saw(1)
        # When somebody waits for its ending
        request = asked("60", queue=queue, logs=logs, tails=tails)
        waiting = asyncio.create_task(jobs.get(request, claim.job_id))
        await eventually(lambda: len(there.follower.tail.followers) == 2 or there.follower.over.done())
        # Then it follows on, and both hear of it
        await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
        await redis.xadd(keys.log(claim.job_id), {"e": encode(completed())}, id=f"{claim.fence}-1")
        assert [event["type"] for _, event in await there.ended()] == ["attempt", "completed"]
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await waiting
        assert orjson.loads(answer.body)["status"] == "completed"


async def test_an_ending_that_is_held_but_was_lost_is_not_what_it_waits_for(
    queue: Queue, logs: Logs, redis: Redis, redis_url: str
) -> None:
    # Given a log with an ending that is held here, and that Redis has lost; a new attempt is under way
    claim = await running(queue)
    again = claim.fence + 1
    await written(redis, claim.job_id, claim.fence, attempt(), completed())
    async with tails_at(redis_url) as tails:
        await Client(tails, claim.job_id).ended()
        await redis.xdel(keys.log(claim.job_id), f"{claim.fence}-1")
        await written(redis, claim.job_id, again, attempt(2, "lost"))
        # When somebody waits for its ending
        request = asked("60", queue=queue, logs=logs, tails=tails)
        waiting = asyncio.create_task(jobs.get(request, claim.job_id))
        await eventually(lambda: waiting.done() or any(tail.end == 2 for tail in tails.followed()))
        # Then it is answered when there is one
        assert not waiting.done()
        await queue.finish(claim.job_id, claim.fence, Cursor(again, 1), completed(), RESULT)
        await redis.xadd(keys.log(claim.job_id), {"e": encode(completed())}, id=f"{again}-1")
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await waiting
        assert orjson.loads(answer.body)["status"] == "completed"
