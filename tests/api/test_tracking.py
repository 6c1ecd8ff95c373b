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

from tokentail.api.tracking import PROTOCOL, Tracking, check
from tokentail.shared import redis as store
from tokentail.shared.errors import ConfigError
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
        tracking = Tracking(plane.connection("", protocol=PROTOCOL), heard.append)
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


async def test_what_was_asked_about_is_told_once_when_it_changes_and_nothing_else(
    redis: Redis, redis_url: str
) -> None:
    async with tracking_at(redis_url) as (tracking, heard):
        # Given a question about two logs, of which one does not exist yet
        await redis.xadd("log:a", {"e": "x"})
        question = packed([b"XREAD", b"STREAMS", b"log:a", b"log:b", b"0", b"0"])
        await tracking.ask(question)
        # When both change, again and again, and one that nobody asked about
        for key in ("other", "log:b", "log:a", "log:b", "log:a"):
            await redis.xadd(key, {"e": "y"})
        await tracking.ask(PING)
        # Then each is told once
        assert heard == [[b"log:b"], [b"log:a"]]
        # And once more when it was asked about again
        await tracking.ask(question)
        await redis.delete("log:a")
        await tracking.ask(PING)
        assert heard[2:] == [[b"log:a"]]


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
            assert await tracking.ask(packed([b"GET", b"log:a"])) == [b"%d" % number if number else None]
            change = asyncio.create_task(redis.set("log:a", number + 1))
            assert await tracking.ask(PING) == [b"PONG"]
            await change
        # Then all of them are told, and no answer is one of them
        await eventually(lambda: heard == [[b"log:a"]] * 200)


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


async def test_a_user_who_may_not_be_told_is_refused_by_name(redis: Redis, redis_url: str) -> None:
    await redis.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read")
    try:
        async with OneServer(redis_url.replace("redis://", "redis://reader:x@")) as plane:
            with pytest.raises(ConfigError, match=r"\+client\|tracking"):
                await check(plane)
    finally:
        await redis.acl_deluser("reader")


async def test_a_user_who_may_is_not(redis_url: str) -> None:
    async with OneServer(redis_url) as plane:
        await check(plane)


async def test_it_leaves_no_task_behind(redis: Redis, redis_url: str) -> None:
    before = asyncio.all_tasks()
    async with tracking_at(redis_url) as (tracking, _):
        assert asyncio.all_tasks() > before
        await tracking.close()
        assert asyncio.all_tasks() == before
