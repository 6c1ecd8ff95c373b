"""What happens to followers by the clock."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from following import MAX_BYTES, Client, tails_at
from given import RESULT, TENANT, at_work, attempt, completed, delta, enqueued, eventually, running, written
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import sse
from tokentail.api import sweeper as sweeper_module
from tokentail.api import tails as tails_module
from tokentail.api.sweeper import Sweeper
from tokentail.api.tails import Tails
from tokentail.shared import redis as store
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper_module, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(sweeper_module, "CHECK_SECONDS", 0.05)


@asynccontextmanager
async def sweeping(url: str, queue: Queue, logs: Logs, **settings: Any) -> AsyncIterator[Tails]:
    chosen = Settings(redis_url=url, **settings)
    async with tails_at(url) as tails, at_work(Sweeper(tails, queue, logs, chosen).run()):
        yield tails


async def test_silence_brings_a_comment_and_again(redis_url: str, queue: Queue, logs: Logs) -> None:
    record = await enqueued(queue)
    async with sweeping(redis_url, queue, logs, ping_seconds=0.05) as tails:
        client = Client(tails, record.id)
        await eventually(lambda: client.raw.count(sse.PING) >= 3)
        assert re.fullmatch(rb": connected\nretry: \d+\n(: ping\n)+", client.raw)
        await client.gone()


async def test_a_stream_that_is_old_ends_cleanly(
    redis_url: str, queue: Queue, logs: Logs, redis: Redis
) -> None:
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt(), delta("a"))
    async with sweeping(redis_url, queue, logs, stream_seconds=0.3) as tails:
        client = Client(tails, claim.job_id)
        began = asyncio.get_running_loop().time()
        # Then it ends after what there was, without an ending, and not too early
        assert [event["type"] for _, event in await client.ended()] == ["attempt", "delta"]
        assert asyncio.get_running_loop().time() - began >= 0.28
        assert client.sink.aborted == 0


async def test_a_client_that_takes_nothing_is_cut_off(redis_url: str, queue: Queue, logs: Logs) -> None:
    record = await enqueued(queue)
    async with sweeping(redis_url, queue, logs, send_seconds=0.05) as tails:
        stuck, fine = Client(tails, record.id), Client(tails, record.id)
        stuck.sink.fill()
        await eventually(lambda: stuck.sink.aborted)
        assert fine.sink.aborted == 0
        assert not fine.follower.over.done()
        await stuck.gone()
        await fine.gone()


async def test_a_client_that_takes_nothing_is_cut_off_also_when_its_log_is_no_more(
    redis_url: str, queue: Queue, logs: Logs
) -> None:
    # Given a client that takes nothing of a log
    record = await enqueued(queue)
    async with sweeping(redis_url, queue, logs, send_seconds=0.5) as tails:
        stuck = Client(tails, record.id)
        stuck.sink.fill()
        # When the job is deleted before its time is over
        tails.forget(stuck.follower.tail)
        assert tails.followed() == [stuck.follower.tail]
        # Then it is cut off all the same, and nothing of it is kept
        await eventually(lambda: stuck.sink.aborted)
        await stuck.gone()
        assert tails.followed() == []


async def test_a_client_that_takes_something_now_and_then_is_not_cut_off(
    redis_url: str, queue: Queue, logs: Logs
) -> None:
    record = await enqueued(queue)
    async with sweeping(redis_url, queue, logs, send_seconds=0.2, ping_seconds=0.05) as tails:
        slow, other = Client(tails, record.id), Client(tails, record.id)
        # Given a client whose connection is full most of the time, for far longer than it may be at once
        for pings in range(1, 8):
            slow.sink.fill()
            await eventually(lambda pings=pings: other.raw.count(sse.PING) > pings)  # type: ignore[misc]
            slow.sink.drain()
        assert slow.sink.aborted == 0
        await slow.gone()
        await other.gone()


async def test_a_log_that_nobody_follows_any_more_is_kept_for_a_while_and_then_forgotten(
    redis_url: str, queue: Queue, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await enqueued(queue)
    async with sweeping(redis_url, queue, logs) as tails:
        client = Client(tails, record.id)
        await client.gone()
        (tail,) = tails.all()
        # Given a sweeper that has looked at it more than once
        other = Client(tails, (await enqueued(queue)).id)
        heard = other.follower.tail.heard_at
        await eventually(lambda: other.follower.tail.heard_at > heard + 0.2)
        assert tails.get(record.id) is tail
        # When it was left for long enough
        monkeypatch.setattr(tails_module, "LINGER_SECONDS", 0.1)
        await eventually(lambda: tails.get(record.id) is None)
        # Then those that are followed stay
        assert tails.all() == [other.follower.tail]
        await other.gone()


async def test_an_ending_that_was_decided_but_never_logged_reaches_who_waits_for_it(
    redis_url: str, queue: Queue, logs: Logs
) -> None:
    # Given a client that follows a queued job, which is cancelled by a process that dies before it logs it
    record = await enqueued(queue)
    async with sweeping(redis_url, queue, logs) as tails:
        client = Client(tails, record.id)
        await queue.cancel(TENANT, record.id)
        # Then the client hears of it all the same
        assert [event["type"] for _, event in await client.ended()] == ["cancelled"]
        # And the record learns that the log has it

        async def is_logged() -> bool:
            return not (await queue.get(TENANT, record.id)).unlogged

        await eventually(is_logged)


async def test_a_deleted_jobs_followers_end(redis_url: str, queue: Queue, logs: Logs) -> None:
    record = await enqueued(queue)
    async with sweeping(redis_url, queue, logs) as tails:
        client = Client(tails, record.id)
        await eventually(lambda: client.follower.tail.is_loaded)
        await queue.delete(TENANT, record.id)
        assert await client.ended() == []


async def test_followers_of_an_ended_job_whose_log_is_gone_end(
    redis_url: str, queue: Queue, logs: Logs
) -> None:
    claim = await running(queue)
    await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    async with sweeping(redis_url, queue, logs) as tails:
        assert await Client(tails, claim.job_id).ended() == []


async def test_an_ending_that_was_not_read_here_yet_is_not_taken_for_lost(
    redis_url: str, queue: Queue, logs: Logs, redis: Redis, settings: Settings
) -> None:
    # Given a follower of a job that has ended, in a process whose reader is behind
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt(), completed())
    await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    async with OneServer(redis_url) as plane:
        tails = Tails(plane, max_bytes=MAX_BYTES)
        tail = tails.follow(claim.job_id, START, Sink()).tail
        heard = tail.heard_at
        async with at_work(Sweeper(tails, queue, logs, settings).run()):
            # When its silence was looked at, more than once
            await eventually(lambda: tail.is_over or tail.heard_at > heard + 0.2)
    # Then the follower goes on waiting for the ending
    assert not tail.is_over


async def test_a_silent_job_that_runs_is_left_alone(
    redis_url: str, queue: Queue, logs: Logs, redis: Redis
) -> None:
    # Given a job that is queued and one whose model is thinking
    claim = await running(queue)
    thinks = claim.job_id
    waits = await enqueued(queue)
    await written(redis, thinks, claim.fence, attempt())
    async with sweeping(redis_url, queue, logs) as tails:
        clients = [Client(tails, waits.id), Client(tails, thinks)]
        heard = [client.follower.tail.heard_at for client in clients]
        # When both were looked at for their silence, more than once
        await eventually(
            lambda: all(c.follower.tail.heard_at > h + 0.2 for c, h in zip(clients, heard, strict=True))
        )
        # Then nothing has happened to them
        assert not any(client.task.done() or client.follower.tail.is_over for client in clients)
        for client in clients:
            await client.gone()


async def test_a_sweeper_outlives_redis(new_redis_server: Callable[..., RedisServer], logs: Logs) -> None:
    server = new_redis_server()
    async with store.client(server.url) as client, OneServer(server.url) as plane:
        queue = Queue(client, Settings(redis_url=server.url))
        record = await enqueued(queue)
        async with sweeping(server.url, queue, Logs(plane), ping_seconds=0.05) as tails:
            follower = Client(tails, record.id)
            # Given a Redis that is gone while logs are silent
            server.kill()
            pings = follower.raw.count(sse.PING)
            # Then pings go on
            await eventually(lambda: follower.raw.count(sse.PING) > pings + 3)
            # And what happened meanwhile is found out when it is back
            server.start()
            await eventually(lambda: _cancelled(queue, record.id))
            assert [event["type"] for _, event in await follower.ended()] == ["cancelled"]


async def _cancelled(queue: Queue, job_id: str) -> bool:
    try:
        return bool(await queue.cancel(TENANT, job_id))
    except StoreUnavailable:
        return False


async def test_a_job_that_nobody_knows_is_no_job_to_wait_for(
    redis_url: str, queue: Queue, logs: Logs
) -> None:
    async with sweeping(redis_url, queue, logs) as tails:
        assert await Client(tails, new_id()).ended() == []
