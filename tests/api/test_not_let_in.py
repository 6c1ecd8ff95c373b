"""Requests for events that come to nothing leave no follower behind, and no answer that is old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from events_endpoint import Ask
from following import MAX_BYTES
from given import RESULT, TENANT, at_work, attempt, claimed, completed, enqueued, eventually, running, written
from redis.asyncio import Redis

from tokentail.api import follow as follow_module
from tokentail.api.drain import Drain
from tokentail.api.lookups import Lookups
from tokentail.api.tails import Tails
from tokentail.shared.cursor import Cursor
from tokentail.shared.log import Logs
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue


@pytest.fixture
async def tails(redis_url: str) -> AsyncIterator[Tails]:
    """Their reader does not run: what is in a log is not known in time."""
    async with OneServer(redis_url) as plane:
        yield Tails(plane, max_bytes=MAX_BYTES)


async def ended_job(queue: Queue, redis: Redis) -> str:
    claim = await running(queue)
    _, ending = await written(redis, claim.job_id, claim.fence, attempt(), completed())
    await queue.finish(claim.job_id, claim.fence, ending.cursor, completed(), RESULT)
    return claim.job_id


def followers(tails: Tails) -> int:
    return sum(len(tail.followers) for tail in tails.all())


async def test_who_is_told_to_come_back_follows_no_more(
    ask: Ask, queue: Queue, redis: Redis, tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an ended log that can't be read now
    monkeypatch.setattr(follow_module, "LOAD_SECONDS", 0.05)
    client = ask(await ended_job(queue, redis))
    # When somebody asks for it
    async with asyncio.timeout(20):
        await client.run()
    # Then it is refused, and forgotten
    assert client.sent[0]["status"] == 503
    assert followers(tails) == 0


async def test_a_request_that_is_cut_off_while_it_waits_follows_no_more(
    ask: Ask, queue: Queue, redis: Redis, tails: Tails
) -> None:
    asking = asyncio.create_task(ask(await ended_job(queue, redis)).run())
    await eventually(lambda: followers(tails) == 1)
    asking.cancel()
    await asyncio.wait([asking])
    assert followers(tails) == 0


async def test_a_record_that_was_looked_at_is_looked_at_anew(queue: Queue, logs: Logs) -> None:
    # Given a job that somebody has asked for
    lookups = Lookups(queue, logs)
    record = await enqueued(queue)
    assert (await lookups.record(TENANT, record.id)).status == "queued"
    # When it goes on; Then who asks next is told so
    await claimed(queue)
    assert (await lookups.record(TENANT, record.id)).status == "running"


async def test_a_request_for_the_headers_alone_opens_no_stream(ask: Ask, queue: Queue, tails: Tails) -> None:
    client = ask((await enqueued(queue)).id, method="HEAD")
    async with asyncio.timeout(20):
        await client.run()
    assert client.sent[0]["status"] == 200
    assert dict(client.sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert tails.all() == []


async def test_a_log_that_has_expired_is_said_to_be_gone_to_everybody_who_asks(
    ask: Ask, queue: Queue, tails: Tails
) -> None:
    # Given a job that has ended, and whose log is gone
    claim = await running(queue)
    await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    # When one asks for it, and another one at once after that
    async with at_work(tails.run()), asyncio.timeout(20):
        for client in (ask(claim.job_id), ask(claim.job_id)):
            await client.run()
            # Then neither is left to wait for what can't come
            assert client.sent[0]["status"] == 410
    assert tails.all() == []


async def test_a_log_that_was_not_read_before_the_process_stops_is_not_said_to_be_gone(
    ask: Ask, queue: Queue, redis: Redis, tails: Tails
) -> None:
    # Given a client of a job that has ended, whose log is about to be read
    client = ask(await ended_job(queue, redis))
    asking = asyncio.create_task(client.run())
    await eventually(lambda: followers(tails) == 1)
    # When the process is told to stop
    client.context.draining = True
    Drain(tails, 0).end_all()
    async with asyncio.timeout(20):
        await asking
    # Then the client is sent away cleanly, to ask elsewhere
    assert client.sent[0]["status"] == 200
    assert not client.sent[-1].get("more_body", False)
