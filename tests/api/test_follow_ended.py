"""A follower of a job that has ended, in a process that has not read so far; and one that leaves."""

from __future__ import annotations

import asyncio

import pytest
from events_endpoint import Ask
from following import MAX_BYTES, Client
from given import (
    PATIENCE_SECONDS,
    RESULT,
    TENANT,
    at_work,
    attempt,
    completed,
    delta,
    enqueued,
    eventually,
    running,
    written,
)
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import follow as follow_module
from tokentail.api.tails import Tails
from tokentail.shared import events, keys, tasks
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import Record
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue


async def test_it_gets_the_ending_and_is_not_told_that_the_log_has_expired(
    ask: Ask, queue: Queue, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log that is followed here and was read so far, but not lately, before its job ended
    monkeypatch.setattr(follow_module, "VOUCH_SECONDS", 0.0)
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt(), delta("a"))
    async with OneServer(redis_url) as plane:
        tails = Tails(plane, max_bytes=MAX_BYTES)
        there = tails.follow(claim.job_id, START, Sink())
        async with at_work(tails.run()):
            await eventually(lambda: there.tail.is_loaded and there.tail.end)
        cursor = Cursor(claim.fence, 2)
        await redis.xadd(keys.log(claim.job_id), {"e": events.encode(completed())}, id=str(cursor))
        await queue.finish(claim.job_id, claim.fence, cursor, completed(), RESULT)
        # When somebody else follows it, before anything more was read
        late = ask(claim.job_id)
        late.context.tails = tails
        following = asyncio.create_task(late.run())
        await eventually(lambda: len(there.tail.followers) == 2)
        await asyncio.sleep(0)
        # Then it is told nothing until that has been
        assert not late.sent
        async with at_work(tails.run()), asyncio.timeout(PATIENCE_SECONDS):
            await following
    assert late.sent[0]["status"] == 200
    assert b"event: completed" in late.body


async def test_a_client_that_has_left_is_a_follower_no_more(ask: Ask, queue: Queue, tails: Tails) -> None:
    # Given a client that follows a job that waits
    record = await enqueued(queue)
    client = ask(record.id)
    following = asyncio.create_task(client.run())
    await eventually(lambda: client.sent)
    # When it leaves, in silence
    client.leave()
    # Then nothing of it is kept
    async with asyncio.timeout(PATIENCE_SECONDS):
        await following
    (tail,) = tails.all()
    assert not tail.followers
    assert not tail.live


@pytest.fixture
def asked(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs whose records were asked for, each time."""
    asked, get = [], queue.get

    async def get_and_count(tenant: str, job_id: str) -> Record:
        asked.append(job_id)
        return await get(tenant, job_id)

    monkeypatch.setattr(queue, "get", get_and_count)
    return asked


async def test_a_storm_of_clients_costs_one_look_at_the_record(
    ask: Ask, queue: Queue, asked: list[str]
) -> None:
    record = await enqueued(queue)
    clients = [ask(record.id) for _ in range(50)]
    # When many come at the same moment, and some of them go before there is an answer
    following = [asyncio.create_task(client.run()) for client in clients]
    await asyncio.sleep(0)
    await tasks.end(*following[:10])
    await eventually(lambda: all(client.sent for client in clients[10:]))
    assert len(asked) == 1
    # And when they come again
    late = ask(record.id)
    following.append(asyncio.create_task(late.run()))
    await eventually(lambda: late.sent)
    # Then nobody is asked, for the log is known
    assert len(asked) == 1
    await tasks.end(*following)


async def test_a_silent_log_whose_job_was_looked_at_vouches_for_it_again(
    ask: Ask, queue: Queue, asked: list[str], tails: Tails
) -> None:
    # Given a job whose log is held here, and has long been silent
    record = await enqueued(queue)
    there = Client(tails, record.id)
    there.follower.tail.heard_at -= 2 * follow_module.VOUCH_SECONDS
    # When some come, one after the other
    for _ in range(3):
        late = ask(record.id)
        following = asyncio.create_task(late.run())
        await eventually(lambda late=late: late.sent)  # type: ignore[misc]
        late.leave()
        await following
    # Then only the first one cost a look
    assert len(asked) == 1
    await there.gone()


async def test_a_log_that_has_just_spoken_vouches_for_its_job(
    ask: Ask, queue: Queue, asked: list[str], tails: Tails, redis: Redis
) -> None:
    # Given a log that is held here, and that says something after a long silence
    record = await enqueued(queue)
    there = Client(tails, record.id)
    await eventually(lambda: there.follower.tail.is_loaded)
    there.follower.tail.heard_at -= 2 * follow_module.VOUCH_SECONDS
    await written(redis, record.id, 1, attempt())
    await there.saw(1)
    # When somebody comes
    late = ask(record.id)
    following = asyncio.create_task(late.run())
    await eventually(lambda: late.sent)
    # Then nobody is asked for the record
    assert len(asked) == 0
    late.leave()
    await following
    await there.gone()


async def test_a_log_that_is_held_vouches_for_its_job_only_for_a_while(
    ask: Ask, queue: Queue, tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job whose log is held here, and that is deleted elsewhere
    record = await enqueued(queue)
    there = Client(tails, record.id)
    await queue.delete(TENANT, record.id)
    # When somebody comes, longer after the log's last sign of life than it vouches for its job
    monkeypatch.setattr(follow_module, "VOUCH_SECONDS", 0.0)
    late = ask(record.id)
    await late.run()
    # Then there is no such job, and who followed it is let go
    assert late.sent[0]["status"] == 404
    assert await there.ended() == []
    assert tails.get(record.id) is None


async def test_an_ending_that_is_held_but_was_lost_is_told_to_nobody_for_long(
    ask: Ask, queue: Queue, tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log with an ending that is held here, and that Redis has lost together with the end of the job
    monkeypatch.setattr(follow_module, "VOUCH_SECONDS", 0.0)
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt(), delta("a"), completed())
    assert [event["type"] for _, event in await Client(tails, claim.job_id).ended()][-1] == "completed"
    await redis.xdel(keys.log(claim.job_id), f"{claim.fence}-2")
    # When a new attempt goes on, and somebody comes who has seen that ending
    await written(redis, claim.job_id, claim.fence + 1, attempt(2, "lost"))
    late = ask(claim.job_id)
    following = asyncio.create_task(late.run())
    await eventually(lambda: b"lost" in late.body)
    # Then it is told of the new attempt, and not that all is over
    assert b"completed" not in late.body
    late.leave()
    await following
