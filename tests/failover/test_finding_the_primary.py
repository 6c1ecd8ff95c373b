"""A connection leads to the primary that the sentinels name, if it can be believed and is one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest
from given import eventually
from meeting import is_answered, port_met_by
from redis.asyncio import Redis
from scripted_sentinels import ScriptedSentinel, url_of
from sentinels import client_of, port_of

from tokentail.shared import redis as store
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.sentinel import FRESH_SECONDS
from tokentail.stack.redis_server import RedisServer


@pytest.mark.parametrize("connections", [None, 2])
async def test_a_primary_is_found_by_its_name(
    three_sentinels: list[ScriptedSentinel], redis_server: RedisServer, connections: int | None
) -> None:
    async with store.client(url_of(*three_sentinels), connections=connections) as redis:
        assert await port_met_by(redis) == port_of(redis_server)


async def test_a_primary_that_is_just_being_made_is_found(
    three_sentinels: list[ScriptedSentinel],
    redis_server: RedisServer,
    new_redis_server: Callable[..., RedisServer],
) -> None:
    # Given a sentinel that has promoted a server, and still has to tell replicas and other sentinels
    for sentinel in three_sentinels:
        sentinel.leader = new_redis_server()
    leading = three_sentinels[0]
    leading.leader, leading.before, leading.epoch = redis_server, leading.leader, 2
    leading.flags = "master,s_down,o_down,failover_in_progress"
    # When a client connects; Then it is led to the new one
    async with store.client(url_of(*three_sentinels)) as redis:
        assert await port_met_by(redis) == port_of(redis_server)


async def test_a_dead_sentinel_and_one_that_hangs_are_done_without(
    three_sentinels: list[ScriptedSentinel], redis_server: RedisServer
) -> None:
    three_sentinels[0].stop()
    three_sentinels[1].silent = True
    async with store.client(url_of(*three_sentinels)) as redis:
        assert await port_met_by(redis) == port_of(redis_server)


async def test_one_that_hangs_delays_nobody_while_most_answer(
    three_sentinels: list[ScriptedSentinel], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a sentinel that hangs, and a day to wait for it
    monkeypatch.setattr("tokentail.shared.sentinel.ASK_SECONDS", 86_400)
    three_sentinels[1].silent = True
    # When a client connects; Then it does not wait
    async with store.client(url_of(*three_sentinels)) as redis:
        assert await is_answered(redis)


async def test_the_database_of_the_url_is_used(three_sentinels: list[ScriptedSentinel]) -> None:
    url = url_of(*three_sentinels)
    async with store.client(f"{url[:-1]}3") as third, store.client(url) as first:
        await third.set("where", "3")
        assert await first.get("where") is None
        await third.delete("where")


async def test_sentinels_get_their_own_credentials_and_never_the_primarys(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given a primary with a password, and sentinels with another
    primary = new_redis_server()
    with client_of(primary) as client:
        client.execute_command("ACL", "SETUSER", "ours", "on", ">primarys", "~*", "+@all")
        client.config_set("requirepass", "somebody-elses")
    for sentinel in three_sentinels:
        sentinel.leader = primary
    url = url_of(*three_sentinels, options="?sentinel_username=watch&sentinel_password=sentinels")
    url = url.replace("://", "://ours:primarys@")
    # When a client connects; Then both let it in
    async with store.client(url) as redis:
        assert await port_met_by(redis) == port_of(primary)
    assert ["AUTH", "watch", "sentinels"] in three_sentinels[0].heard
    assert "primarys" not in str([sentinel.heard for sentinel in three_sentinels])


async def test_without_a_sentinel_redis_is_away_and_says_why(three_sentinels: list[ScriptedSentinel]) -> None:
    for sentinel in three_sentinels:
        sentinel.stop()
    async with store.client(url_of(*three_sentinels)) as redis:
        with pytest.raises(StoreUnavailable, match=r"^No sentinel of Redis answers\."):
            await port_met_by(redis)
        with pytest.raises(StoreUnavailable):
            await store.check(redis)


async def test_a_primary_that_no_sentinel_knows_is_refused_at_start_and_awaited_later(
    three_sentinels: list[ScriptedSentinel],
) -> None:
    # Given sentinels that look after something else
    for sentinel in three_sentinels:
        sentinel.error = "ERR No such master with that name"
    async with store.client(url_of(*three_sentinels)) as redis:
        # When a process starts; Then it says which name is wrong
        with pytest.raises(ConfigError, match=r"know no primary called 'mymaster'\.$"):
            await store.check(redis)
        # And to one that runs it is just away, for somebody may be setting the sentinels up anew
        with pytest.raises(StoreUnavailable):
            await port_met_by(redis)
        for sentinel in three_sentinels:
            sentinel.error = None
        await eventually(lambda: is_answered(redis))


async def test_a_redis_that_is_no_sentinel_is_told_from_one_that_is_away(redis_url: str) -> None:
    host = redis_url.removeprefix("redis://").removesuffix("/0")
    async with store.client(f"redis+sentinel://{host}/mymaster") as redis:
        with pytest.raises(StoreUnavailable, match="refuse to tell"):
            await port_met_by(redis)


async def test_a_crowd_that_reconnects_does_not_ask_for_each_connection(
    three_sentinels: list[ScriptedSentinel],
) -> None:
    # Given many connections
    sentinel = three_sentinels[0]
    async with store.client(url_of(*three_sentinels)) as redis:
        began = time.monotonic()
        # When all are made at the same moment
        await asyncio.gather(*(redis.blpop(["nothing"], timeout=0.1) for _ in range(100)))  # type: ignore[misc]
        # Then the sentinels were asked now and then, however many there are
        asked = sum(command[1] == "MASTER" for command in sentinel.heard)
        took = time.monotonic() - began
    assert 1 <= asked <= 1 + took / FRESH_SECONDS


async def test_a_caller_that_gives_up_leaves_nothing_behind(
    three_sentinels: list[ScriptedSentinel],
) -> None:
    # Given sentinels that hang
    for sentinel in three_sentinels:
        sentinel.silent = True
    async with store.client(url_of(*three_sentinels)) as redis:
        asking = asyncio.create_task(redis.ping())
        await eventually(lambda: three_sentinels[0].heard)
        # When the caller is cancelled
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        # Then the next one is served
        for sentinel in three_sentinels:
            sentinel.silent = False
        assert await redis.ping()


# Believing no one


async def test_a_replica_is_no_primary_whatever_the_sentinels_say(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given sentinels that have not noticed a demotion
    demoted = new_redis_server()
    with client_of(demoted) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    for sentinel in three_sentinels:
        sentinel.leader = demoted
    async with store.client(url_of(*three_sentinels)) as redis:
        # When a client connects; Then it is not given a server that would take no write
        with pytest.raises(StoreUnavailable, match="is none any more"):
            await redis_says(redis)
        # And when they notice, it finds the new one by itself
        primary = new_redis_server()
        for sentinel in three_sentinels:
            sentinel.leader = primary
        await eventually(lambda: is_answered(redis))
        assert await port_met_by(redis) == port_of(primary)


async def redis_says(redis: Redis) -> None:
    with store.away_is_unavailable():
        await redis.ping()


async def test_a_user_who_may_not_ask_for_the_role_is_served(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer]
) -> None:
    primary = new_redis_server()
    with client_of(primary) as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">pass", "~*", "+@all", "-@dangerous")
    for sentinel in three_sentinels:
        sentinel.leader = primary
    async with store.client(url_of(*three_sentinels).replace("://", "://few:pass@")) as redis:
        assert await redis.set("a", "b")


async def test_a_frozen_server_does_not_keep_one_that_waits_for_ever(
    three_sentinels: list[ScriptedSentinel], new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given a primary that takes connections and says nothing
    frozen = new_redis_server()
    for sentinel in three_sentinels:
        sentinel.leader = frozen
    os.kill(frozen.pid, signal.SIGSTOP)
    # When somebody connects who bounds nothing himself; Then he is told
    connection = store.pool(url_of(*three_sentinels), timeout_seconds=None).make_connection()
    try:
        with pytest.raises(StoreUnavailable), store.away_is_unavailable():
            await connection.connect()
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert not connection.is_connected
