"""A follower of a job that has ended, in a process that has not read so far."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from given import RESULT, attempt, completed, delta, eventually, running, written
from redis.asyncio import Redis

from tokentail.api.context import Context
from tokentail.api.follow import Follow
from tokentail.api.headroom import Headroom
from tokentail.api.tails import Tails
from tokentail.shared import events, keys, tasks
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


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
        settings, models = Settings(redis_url=redis_url), ModelList.load(ModelList.demo_path())
        context = Context(settings, models, redis, plane, queue, logs, tails, Headroom(redis, plane))
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "headers": [],
            "query_string": b"",
            "path_params": {"job_id": claim.job_id},
            "app": SimpleNamespace(state=SimpleNamespace(context=context)),
        }
        following = asyncio.create_task(Follow()(scope, asyncio.Event().wait, send))  # type: ignore[arg-type]
        await eventually(lambda: len(there.tail.followers) == 2)
        await asyncio.sleep(0)
        # Then it is told nothing until that has been
        assert not sent
        reading = asyncio.create_task(tails.run())
        async with asyncio.timeout(20):
            await following
        await tasks.end(reading)
    assert sent[0]["status"] == 200
    assert b"event: completed" in b"".join(message.get("body", b"") for message in sent)
