"""A connection ends when it leads to a primary no more, whatever it is waiting for there."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from given import eventually
from meeting import connects, port_met_by
from redis.asyncio import Connection, Redis
from scripted_sentinels import ScriptedSentinel, url_of
from sentinels import client_of, port_of

from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer


async def test_a_connection_of_ones_own_ends_and_then_leads_to_the_new_one(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given a raw connection, as the appender and the reader of the logs have one
    old, new = new_redis_server(), new_redis_server()
    for sentinel in three_sentinels:
        sentinel.leader = old
    connection = store.pool(url_of(*three_sentinels)).make_connection()
    await connection.connect()
    # When the sentinels name another primary, though they were set up anew and count from the beginning
    for sentinel in three_sentinels:
        sentinel.leader, sentinel.epoch = new, 0
    # Then it ends, which its owner has to know, and leads there the next time
    await eventually(lambda: not connection.is_connected)
    await eventually(lambda: connects(connection))
    assert connection.port == port_of(new)
    await connection.disconnect()


async def test_what_a_former_primary_refuses_is_said_to_be_away_until_the_sentinels_know_better(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given a queue on a primary
    old, new = new_redis_server(), new_redis_server()
    for sentinel in three_sentinels:
        sentinel.leader = old
    async with store.client(url_of(*three_sentinels)) as redis:
        queue = Queue(redis, Settings(redis_url="redis://unused"))
        await queue.renew("worker", [])
        # When somebody demotes it by hand: unlike sentinels, that disconnects nobody
        with client_of(old) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", port_of(new))
        with pytest.raises(StoreUnavailable):
            await queue.renew("worker", [])
        # Then it is left as soon as they name the new one
        for sentinel in three_sentinels:
            sentinel.leader, sentinel.epoch = new, 2
        await eventually(lambda: _renews(queue))
        assert await port_met_by(redis) == port_of(new)


async def _renews(queue: Queue) -> bool:
    try:
        await queue.renew("worker", [])
    except StoreUnavailable:
        return False
    return True


@pytest.mark.parametrize("is_frozen", [False, True], ids=["well", "frozen"])
async def test_every_connection_leaves_when_the_sentinels_name_another_primary(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer], is_frozen: bool
) -> None:
    # Given connections to a primary: some idle, one that waits there for as long as it takes
    old, new = new_redis_server(), new_redis_server()
    for sentinel in three_sentinels:
        sentinel.leader = old
    pool = store.pool(url_of(*three_sentinels), timeout_seconds=60)
    taken = [await pool.get_connection() for _ in range(3)]
    for connection in taken:
        await pool.release(connection)
    async with Redis(connection_pool=pool) as redis:
        waiting = asyncio.create_task(redis.blpop(["nothing"], timeout=0))  # type: ignore[arg-type]
        await eventually(lambda: _one_waits(old))
        # When another leads, though the old one, well or frozen, disconnects nobody
        if is_frozen:
            os.kill(old.pid, signal.SIGSTOP)
        for sentinel in three_sentinels:
            sentinel.leader, sentinel.epoch = new, 2
        # Then nobody waits there any longer, and nobody has anything to do for it
        with pytest.raises(StoreUnavailable), store.away_is_unavailable():
            await waiting
        await eventually(lambda: not any(connection.is_connected for connection in taken))
        assert await port_met_by(redis) == port_of(new)
    await pool.disconnect()


def _one_waits(server: RedisServer) -> bool:
    with client_of(server) as client:
        return bool(client.info("clients")["blocked_clients"])


async def test_a_primary_that_is_being_replaced_is_left_before_the_new_one_is_known(
    three_sentinels: list[ScriptedSentinel],
) -> None:
    # Given a connection
    connection = store.pool(url_of(*three_sentinels)).make_connection()
    await connection.connect()
    # When one sentinel begins a failover, of which the others have yet to hear
    three_sentinels[2].flags = "master,failover_in_progress"
    # Then nothing more is told to a server that may forget it, until it is decided
    await eventually(lambda: not connection.is_connected)
    assert not await connects(connection)
    three_sentinels[2].flags = "master"
    await eventually(lambda: connects(connection))
    await connection.disconnect()


async def test_who_waits_at_a_frozen_server_is_called_away_when_another_leads(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer], monkeypatch
) -> None:
    # Given somebody who is just connecting to a server that froze, and has a day to wait
    monkeypatch.setattr(store, "CONNECT_TIMEOUT_SECONDS", 86_400)
    old, new = new_redis_server(), new_redis_server()
    for sentinel in three_sentinels:
        sentinel.leader = old
    os.kill(old.pid, signal.SIGSTOP)
    connection = store.pool(url_of(*three_sentinels), timeout_seconds=None).make_connection()
    connecting = asyncio.create_task(connection.connect())
    await eventually(lambda: connection.is_connected)
    # When the sentinels name another primary
    for sentinel in three_sentinels:
        sentinel.leader, sentinel.epoch = new, 2
    # Then the wait is over
    with pytest.raises(StoreUnavailable), store.away_is_unavailable():
        await connecting
    await eventually(lambda: connects(connection))
    assert connection.port == port_of(new)
    await connection.disconnect()


async def test_who_is_still_on_the_way_to_a_former_primary_does_not_stay_there(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer], monkeypatch
) -> None:
    # Given somebody whose connection takes long to come about
    old, new = new_redis_server(), new_redis_server()
    for sentinel in three_sentinels:
        sentinel.leader = old
    arrived, connect = asyncio.Event(), Connection._connect

    async def slowly(self: Connection) -> None:
        if self.port == port_of(old):
            await arrived.wait()
        await connect(self)

    monkeypatch.setattr(Connection, "_connect", slowly)
    connection = store.pool(url_of(*three_sentinels)).make_connection()
    connecting = asyncio.create_task(connection.connect())
    await eventually(lambda: connection.port == port_of(old))
    # When the sentinels name another primary meanwhile
    for sentinel in three_sentinels:
        sentinel.leader, sentinel.epoch = new, 2
        sentinel.heard.clear()
    await eventually(lambda: all(sentinel.heard for sentinel in three_sentinels))
    arrived.set()
    # Then the old one, which thinks that it leads, is not believed
    with pytest.raises(StoreUnavailable, match="none any more"), store.away_is_unavailable():
        await connecting
    await eventually(lambda: connects(connection))
    assert connection.port == port_of(new)
    await connection.disconnect()


async def test_no_connection_leaves_for_a_sentinel_that_has_missed_a_failover(
    three_sentinels: list[ScriptedSentinel],
    redis_server: RedisServer,
    new_redis_server: Callable[..., RedisServer],
) -> None:
    # Given a connection to the primary, and a sentinel that still names the one before it
    former = new_redis_server()
    for sentinel in three_sentinels:
        sentinel.epoch = 2
    three_sentinels[0].leader, three_sentinels[0].epoch = former, 1
    connection = store.pool(url_of(*three_sentinels)).make_connection()
    await connection.connect()
    assert connection.port == port_of(redis_server)
    # When that is the only one that answers
    three_sentinels[1].silent = three_sentinels[2].silent = True
    asked = len(three_sentinels[0].heard)
    await eventually(lambda: len(three_sentinels[0].heard) > asked + 1)
    # Then the connection stays where it is
    assert connection.is_connected
    # And who connects anew waits for one that knows more
    await connection.disconnect()
    assert not await connects(connection)
    three_sentinels[1].silent = False
    await eventually(lambda: connects(connection))
    assert connection.port == port_of(redis_server)
    await connection.disconnect()


async def test_the_sentinels_are_watched_only_while_somebody_is_connected(
    three_sentinels: list[ScriptedSentinel],
) -> None:
    async with store.client(url_of(*three_sentinels)) as redis:
        await redis.ping()
        await eventually(lambda: len(three_sentinels[0].heard) > 2)
    await eventually(lambda: not any(sentinel.clients for sentinel in three_sentinels))


async def test_a_connection_that_does_not_come_about_leaves_no_watch_behind(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given a primary that is gone, which the sentinels have yet to notice
    gone = new_redis_server()
    for sentinel in three_sentinels:
        sentinel.leader = gone
    gone.kill()
    # When somebody tries to connect, in vain
    connection = store.pool(url_of(*three_sentinels)).make_connection()
    assert not await connects(connection)
    # Then the sentinels are left alone
    await eventually(lambda: not any(sentinel.clients for sentinel in three_sentinels))
