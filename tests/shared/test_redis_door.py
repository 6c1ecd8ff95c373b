"""How we talk to Redis: bounded, never repeating, and with one error for "it is away"."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
import uvloop
from given import TENANT, chat, eventually
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("lost"),
        TimeoutError("late"),
        BusyLoadingError("loading"),
        ReadOnlyError("a replica"),
        OutOfMemoryError("full"),
        ConnectionRefusedError(),
        TimeoutError(),
        ResponseError("MISCONF Redis is configured to save"),
        ResponseError("NOREPLICAS Not enough good replicas"),
        ResponseError("MASTERDOWN Link with MASTER is down"),
        ResponseError("CLUSTERDOWN The cluster is down"),
        ResponseError("TRYAGAIN Multiple keys request during rehashing"),
        ResponseError("OOM command not allowed"),
        ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"),
        ResponseError("BUSY Redis is busy running a script."),
        # How Redis 6.2 says it of a command within a script.
        ResponseError("Error running script (call to f_0): @user_script:1: @user_script: 1: -OOM command"),
        ResponseError("Command # 1 (LPUSH a b) of pipeline caused error: MISCONF Errors writing"),
        ResponseError("Command # 1 (LPUSH a b) of pipeline caused error: ('MISCONF Errors writing',)"),
        ResponseError('Command # 2 (SET a b) of pipeline caused error: ("MISCONF Can\'t write",)'),
        # The driver, of a connection that was ended before it could send.
        AttributeError("'NoneType' object has no attribute 'writelines'"),
        # Somebody is changing the password, here or there.
        AuthenticationError("wrong password"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}",
)
def test_every_way_to_be_away_is_one_error(error: Exception) -> None:
    with pytest.raises(StoreUnavailable) as caught, store.away_is_unavailable():
        raise error
    assert caught.value.__cause__ is error


def test_a_connection_that_uvloop_has_closed_between_two_sends_is_away() -> None:
    # Given a connection that was reset after something was sent
    async def send_twice() -> None:
        over = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
            writer.close()
            over.set()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = store.pool(f"redis://127.0.0.1:{port}/0").make_connection()
            await connection._connect()
            connection._writer.transport.abort()
            # When more is sent; Then Redis is away
            with pytest.raises(StoreUnavailable), store.away_is_unavailable():
                await connection.send_command("PING", check_health=False)
            await over.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_twice())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug"),
        AttributeError("'NoneType' object has no attribute 'job'"),
        ResponseError("WRONGTYPE Operation"),
        ResponseError("Error running script (call to f_0): @user_script:1: WRONGTYPE Operation"),
        ValueError("a bug"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}",
)
def test_what_waiting_will_not_mend_is_not_being_away(error: Exception) -> None:
    with pytest.raises(type(error)), store.away_is_unavailable():
        raise error


async def test_a_cancellation_is_not_being_away() -> None:
    with pytest.raises(asyncio.CancelledError), store.away_is_unavailable():
        raise asyncio.CancelledError


async def test_while_redis_is_down_everything_says_unavailable_and_then_works_again(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    # Given clients that have talked to Redis
    server = new_redis_server()
    async with store.client(server.url) as client, OneServer(server.url) as plane:
        queue, logs = Queue(client, Settings(redis_url=server.url)), Logs(plane)
        record, _ = await queue.enqueue(TENANT, chat(), None)
        # When it is gone
        server.kill()
        deeds = [
            lambda: queue.enqueue(TENANT, chat(), "key"),
            lambda: queue.get(TENANT, record.id),
            lambda: queue.list_jobs(TENANT, status=None, limit=1, after=None),
            lambda: queue.cancel(TENANT, record.id),
            lambda: queue.delete(TENANT, record.id),
            lambda: queue.claim("worker", 1),
            lambda: queue.renew("worker", []),
            lambda: queue.hand_back(record.id, 1, "retry"),
            queue.ring,
            lambda: queue.leave("worker"),
            lambda: logs.last(record.id),
            lambda: logs.delete(record.id),
            lambda: logs.append(record.id, Cursor(1, 0), b'{"type":"attempt"}', ttl_seconds=1),
            lambda: store.check(client),
        ]
        # Then whatever is asked is answered with one error
        for deed in deeds:
            with pytest.raises(StoreUnavailable):
                await deed()  # type: ignore[no-untyped-call]
        # And when it is back, all goes on with the same clients, scripts included
        server.start()
        assert await queue.get(TENANT, record.id) == record
        assert (await queue.enqueue(TENANT, chat(), None))[1]
        assert await logs.last(new_id()) is None


async def test_a_primary_that_becomes_a_replica_is_away_for_commands_scripts_and_blocking_reads(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    # Given a script that has run and a read that blocks
    server = new_redis_server()
    async with store.client(server.url) as client, store.client(server.url) as blocking:
        queue = Queue(client, Settings(redis_url=server.url))
        await queue.renew("worker", [])

        async def block() -> None:
            with store.away_is_unavailable():
                await blocking.blpop(["nothing"], timeout=0)  # type: ignore[misc]

        blocked = asyncio.create_task(block())
        await eventually(lambda: _is_blocking(client))
        # When it is demoted, as a failover does
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
        # Then it is away for all of them
        for deed in (lambda: blocked, queue.ring, lambda: queue.renew("worker", [])):
            with pytest.raises(StoreUnavailable):
                await deed()  # type: ignore[operator]


async def test_a_primary_that_its_replicas_have_left_is_away_for_commands_scripts_and_pipelines(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    # Given a primary that takes writes only as long as a replica gets them too
    server = new_redis_server()
    async with store.client(server.url) as client, OneServer(server.url) as plane:
        await client.config_set("min-replicas-to-write", 1)
        queue, logs = Queue(client, Settings(redis_url=server.url)), Logs(plane)
        # When it has none; Then it is away for all of them
        for deed in (
            queue.ring,
            lambda: queue.renew("worker", []),
            lambda: queue.leave("worker"),
            lambda: logs.append(new_id(), Cursor(1, 0), b'{"type":"attempt"}', ttl_seconds=1),
        ):
            with pytest.raises(StoreUnavailable):
                await deed()  # type: ignore[operator]


async def _is_blocking(client: Redis) -> bool:
    return bool((await client.info("clients"))["blocked_clients"])


async def test_a_server_that_keeps_everything_is_accepted(redis: Redis) -> None:
    await store.check(redis)


async def test_a_database_that_the_server_does_not_have_is_refused(redis_url: str) -> None:
    async with store.client(f"{redis_url}?db=99") as client:
        with pytest.raises(ConfigError, match=r"Redis can't be used: .*out of range"):
            await store.check(client)


async def test_a_server_that_evicts_keys_is_refused(new_redis_server: Callable[..., RedisServer]) -> None:
    server = new_redis_server()
    async with store.client(server.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigError, match=r"maxmemory-policy is allkeys-lru.*noeviction\.$"):
            await store.check(client)


@pytest.mark.parametrize(
    ("version", "is_fine"), [("6.0.16", False), ("5.0.7", False), ("6.2.0", True), ("10.1", True)]
)
async def test_a_server_that_is_too_old_is_refused(version: str, is_fine: bool) -> None:
    class Old:
        async def info(self) -> dict[str, str]:
            return {"redis_version": version, "maxmemory_policy": "noeviction"}

    if is_fine:
        await store.check(Old())  # type: ignore[arg-type]
    else:
        with pytest.raises(ConfigError, match=f"Redis {version} is too old"):
            await store.check(Old())  # type: ignore[arg-type]


async def test_callers_of_a_bounded_pool_take_turns(redis_url: str) -> None:
    # Given a client with two connections
    async with store.client(redis_url, connections=2) as client:
        # When twenty ask at once
        answers = await asyncio.gather(*(client.incr("n") for _ in range(20)))
        # Then all are answered, over no more than two
        assert sorted(answers) == list(range(1, 21))
        mine = [c for c in await client.client_list() if c["cmd"] in ("incr", "client", "client|list")]
        assert 1 <= len(mine) <= 2
