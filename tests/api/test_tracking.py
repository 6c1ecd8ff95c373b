"""A connection for reading that is told what has changed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pytest
from given import eventually
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ResponseError

from tokentail.api.tracking import PROTOCOL, Tracking
from tokentail.shared import redis as store
from tokentail.shared.exchange import packed
from tokentail.shared.one_server import OneServer
from tokentail.stack.redis_server import RedisServer

PING = packed([b"PING"])

Heard = list[Sequence[bytes] | None]


@asynccontextmanager
async def tracking_at(url: str) -> AsyncIterator[tuple[Tracking, Heard]]:
    """One that is open, with what it hears."""
    heard: Heard = []
    async with OneServer(url) as plane:
        tracking = Tracking(plane.connection("", protocol=PROTOCOL), ["log:"], heard.append)
        try:
            await tracking.open()
            yield tracking, heard
        finally:
            await tracking.close()


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if server.running:
            os.kill(server.pid, signal.SIGCONT)


async def test_what_changes_at_once_is_told_at_once_and_nothing_else(redis: Redis, redis_url: str) -> None:
    async with tracking_at(redis_url) as (_, heard):
        # When some keys change together, one of them twice, and one that nobody asked about
        pipe = redis.pipeline(transaction=True)
        pipe.set("other", "x").set("log:a", "x").set("log:b", "x").set("log:a", "y")
        await pipe.execute()
        await eventually(lambda: heard)
        # Then they are told together, each once
        assert [sorted(keys or ()) for keys in heard] == [[b"log:a", b"log:b"]]


async def test_whoever_forgets_everything_tells_so(redis: Redis, redis_url: str) -> None:
    async with tracking_at(redis_url) as (_, heard):
        await redis.flushdb()
        await eventually(lambda: heard)
        assert heard == [None]


async def test_a_refusal_is_a_reply_among_the_others(redis: Redis, redis_url: str) -> None:
    async with tracking_at(redis_url) as (tracking, _):
        await redis.set("log:text", "x")
        wrong = packed([b"XREAD", b"STREAMS", b"log:text", b"0"])
        first, refusal, last = await tracking.ask(PING + wrong + PING, 3)
        assert (first, last) == (b"PONG", b"PONG")
        assert isinstance(refusal, ResponseError)
        assert "WRONGTYPE" in str(refusal)


async def test_word_of_a_change_is_not_taken_for_a_reply(redis: Redis, redis_url: str) -> None:
    async with tracking_at(redis_url) as (tracking, heard):
        # Given changes while questions are asked
        for number in range(200):
            change = asyncio.create_task(redis.set(f"log:{number}", "x"))
            assert await tracking.ask(PING) == [b"PONG"]
            await change
        # Then all of them are told, and no answer is one of them
        await eventually(lambda: sum(len(keys or ()) for keys in heard) == 200)


async def test_the_end_of_a_connection_is_told_and_it_answers_no_more(redis: Redis, redis_url: str) -> None:
    async with tracking_at(redis_url) as (tracking, heard):
        assert tracking.is_open
        # When the connection is killed
        await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        # Then whatever may have changed meanwhile has to be read
        await eventually(lambda: heard == [None])
        assert not tracking.is_open
        with pytest.raises(ConnectionError):
            await tracking.ask(PING)


async def test_who_waits_for_an_answer_learns_that_there_will_be_none(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    server = new_redis_server()
    async with tracking_at(server.url) as (tracking, _):
        with frozen(server):
            asked = asyncio.create_task(tracking.ask(PING))
            await asyncio.sleep(0)
            server.kill()
            with pytest.raises((Disconnected, ConnectionError)):
                await asked


async def test_a_server_that_hangs_is_not_waited_for_for_ever(
    new_redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = new_redis_server()
    async with tracking_at(server.url) as (tracking, _):
        monkeypatch.setattr(store, "SOCKET_TIMEOUT_SECONDS", 0.2)
        with frozen(server):
            with pytest.raises(TimeoutError):
                await tracking.ask(PING)
            # Nor by who connects to it
            with pytest.raises(TimeoutError):
                async with tracking_at(server.url):
                    pass


async def test_who_may_not_be_told_is_told_that(redis: Redis, redis_url: str) -> None:
    await redis.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read")
    try:
        with pytest.raises(ResponseError, match="client"):
            async with tracking_at(redis_url.replace("redis://", "redis://reader:x@")):
                pass
    finally:
        await redis.acl_deluser("reader")


async def test_it_leaves_no_task_behind(redis: Redis, redis_url: str) -> None:
    before = asyncio.all_tasks()
    async with tracking_at(redis_url) as (tracking, _):
        assert asyncio.all_tasks() > before
        await tracking.close()
        assert asyncio.all_tasks() == before
