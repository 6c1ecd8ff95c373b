"""A connection leads to the primary that the sentinels name, if it can be believed and is one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest
from given import eventually
from redis.asyncio import Connection, Redis
from redis.exceptions import RedisError
from scripted_sentinels import ScriptedSentinel, url_of
from sentinels import client_of, port_of

from tokentail.shared import redis as store
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.opinion import Leaving, NoPrimary, Opinion, UnknownPrimary, choose
from tokentail.shared.queue import Queue
from tokentail.shared.redis_url import Address
from tokentail.shared.sentinel import FRESH_SECONDS
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer

OLD, NEW = Address("old", 6379), Address("new", 6379)
UNKNOWN = RedisError("No such master with that name")
AWAY = NoPrimary("refused")


# Whom to believe


def chosen(*answers: Opinion | RedisError, known_epoch: int = 0) -> Address:
    return choose("p", answers, asked=3, known_epoch=known_epoch).address


def test_the_newest_epoch_counts_whoever_speaks_first() -> None:
    assert chosen(Opinion(OLD, 1), Opinion(NEW, 2)) == NEW
    assert chosen(Opinion(NEW, 2), Opinion(OLD, 1)) == NEW


def test_one_sentinel_that_is_left_is_believed_unless_it_has_missed_a_failover() -> None:
    assert chosen(AWAY, Opinion(OLD, 1), AWAY, known_epoch=1) == OLD
    with pytest.raises(NoPrimary, match="missed a failover"):
        chosen(AWAY, Opinion(OLD, 1), AWAY, known_epoch=2)


def test_most_sentinels_are_believed_though_they_begin_to_count_anew() -> None:
    assert chosen(AWAY, Opinion(NEW, 0), Opinion(NEW, 0), known_epoch=2) == NEW


def test_a_sentinel_that_has_yet_to_learn_the_name_does_not_count() -> None:
    assert chosen(UNKNOWN, UNKNOWN, Opinion(OLD, 1)) == OLD


def test_a_primary_is_down_when_all_that_are_up_to_date_say_so() -> None:
    assert chosen(Opinion(NEW, 2, is_down=True), Opinion(NEW, 2)) == NEW
    with pytest.raises(NoPrimary, match="is down"):
        choose("p", [Opinion(NEW, 2, is_down=True), Opinion(OLD, 1), Opinion(NEW, 2, is_down=True)], asked=3)


def test_a_primary_that_is_being_replaced_is_not_to_be_told_anything() -> None:
    with pytest.raises(Leaving, match="another primary"):
        chosen(Opinion(OLD, 1), Opinion(OLD, 1, is_leaving=True), Opinion(OLD, 1))
    assert chosen(Opinion(NEW, 2), Opinion(OLD, 1, is_leaving=True)) == NEW


@pytest.mark.parametrize("answers", [[UNKNOWN, UNKNOWN, AWAY], [UNKNOWN] * 3])
def test_a_name_that_most_sentinels_do_not_know_is_wrong(answers: list[RedisError]) -> None:
    with pytest.raises(UnknownPrimary, match="'my-primary'"):
        choose("my-primary", answers, asked=3)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([AWAY, AWAY, AWAY], "No sentinel of Redis answers"),
        ([AWAY, AWAY, UNKNOWN], "refuse to tell"),
        ([AWAY, RedisError("NOAUTH Authentication required."), AWAY], "refuse to tell"),
    ],
)
def test_few_that_answer_no_good_prove_nothing(answers: list[RedisError], said: str) -> None:
    with pytest.raises(NoPrimary, match=said) as nowhere:
        choose("p", answers, asked=3)
    assert not isinstance(nowhere.value, UnknownPrimary)


# Asking them


async def port_met_by(redis: Redis) -> int:
    """Which server answers."""
    with store.away_is_unavailable():
        return int((await redis.config_get("port"))["port"])


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
        assert await _answers(redis)


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
        await eventually(lambda: _answers(redis))


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


async def _answers(redis: Redis) -> bool:
    try:
        await port_met_by(redis)
    except StoreUnavailable:
        return False
    return True


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
        await eventually(lambda: _answers(redis))
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


# Leaving one that leads no more


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
    await eventually(lambda: _connected(connection))
    assert connection.port == port_of(new)
    await connection.disconnect()


async def _connected(connection) -> bool:
    try:
        with store.away_is_unavailable():
            await connection.connect()
    except StoreUnavailable:
        return False
    return True


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
    assert not await _connected(connection)
    three_sentinels[2].flags = "master"
    await eventually(lambda: _connected(connection))
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
    await eventually(lambda: _connected(connection))
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
    await eventually(lambda: _connected(connection))
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
    assert not await _connected(connection)
    three_sentinels[1].silent = False
    await eventually(lambda: _connected(connection))
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
    assert not await _connected(connection)
    # Then the sentinels are left alone
    await eventually(lambda: not any(sentinel.clients for sentinel in three_sentinels))
