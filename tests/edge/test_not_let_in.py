"""Requests for events that come to nothing leave no follower behind, and no answer that is old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from following import MAX_BYTES
from given import RESULT, TENANT, attempt, claimed, completed, enqueued, eventually, running, written
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import follow as follow_module
from tokentail.api.context import Context
from tokentail.api.follow import follow
from tokentail.api.headroom import Headroom
from tokentail.api.lookups import Lookups
from tokentail.api.servers import Servers
from tokentail.api.tails import Tails
from tokentail.shared import redis as store
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with store.client(redis_url) as client:
        yield client


@pytest.fixture
async def context(redis_url: str, redis: Redis) -> AsyncIterator[Context]:
    """A process whose reader does not run: what is in a log is not known in time."""
    settings = Settings(redis_url=redis_url)
    async with OneServer(redis_url) as plane:
        yield Context(
            settings,
            ModelList.load(ModelList.demo_path()),
            redis,
            plane,
            Queue(redis, settings),
            Logs(plane),
            Tails(plane, max_bytes=MAX_BYTES),
            Servers(redis, plane, settings),
            Headroom(),
        )


async def ended_job(context: Context) -> str:
    claim = await running(context.queue)
    _, ending = await written(context.redis, claim.job_id, claim.fence, attempt(), completed())
    await context.queue.finish(claim.job_id, claim.fence, ending.cursor, completed(), RESULT)
    return claim.job_id


async def ask(job_id: str, context: Context, sent: list[Any], method: str = "GET") -> None:
    """A request, as the server passes it on."""

    async def receive() -> Any:
        raise AssertionError("nothing is to be received")

    async def send(message: Any) -> None:
        sent.append(message)

    extensions = Sink().extensions()
    scope = {"type": "http", "method": method, "headers": [], "query_string": b"", "extensions": extensions}
    await follow(job_id, context, scope, receive, send)


def followers(context: Context) -> int:
    return sum(len(tail.followers) for tail in context.tails.all())


async def test_who_is_told_to_come_back_follows_no_more(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an ended log that can't be read now
    monkeypatch.setattr(follow_module, "LOAD_SECONDS", 0.05)
    job_id, sent = await ended_job(context), []
    # When somebody asks for it
    async with asyncio.timeout(20):
        await ask(job_id, context, sent)
    # Then it is refused, and forgotten
    assert sent[0]["status"] == 503
    assert followers(context) == 0


async def test_a_request_that_is_cut_off_while_it_waits_follows_no_more(context: Context) -> None:
    job_id = await ended_job(context)
    asking = asyncio.create_task(ask(job_id, context, []))
    await eventually(lambda: followers(context) == 1)
    asking.cancel()
    await asyncio.wait([asking])
    assert followers(context) == 0


async def test_a_record_that_was_looked_at_is_looked_at_anew(context: Context) -> None:
    # Given a job that somebody has asked for
    lookups = Lookups(context.queue, context.logs)
    record = await enqueued(context.queue)
    assert (await lookups.record(TENANT, record.id)).status == "queued"
    # When it goes on; Then who asks next is told so
    await claimed(context.queue)
    assert (await lookups.record(TENANT, record.id)).status == "running"


async def test_a_request_for_the_headers_alone_opens_no_stream(context: Context) -> None:
    record, sent = await enqueued(context.queue), []
    async with asyncio.timeout(20):
        await ask(record.id, context, sent, method="HEAD")
    assert sent[0]["status"] == 200
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert context.tails.all() == []
