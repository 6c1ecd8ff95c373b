"""Followers see each entry once and in order, whichever node holds the log by now."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from following import Client, tails_at
from given import attempt, completed, delta, eventually
from nodes import Node, Nodes, in_partition
from pens import FENCE, Desk, desk_at, expected, say
from structlog.testing import capture_logs

from tokentail.api import reader as reader_module
from tokentail.api.tails import Tails
from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.job import new_id
from tokentail.worker.writer import Writer


@pytest.fixture
async def at(nodes: Nodes) -> AsyncIterator[Desk]:
    async with desk_at(nodes) as made:
        yield made


@pytest.fixture
async def tails(nodes: Nodes) -> AsyncIterator[Tails]:
    async with tails_at(nodes.url) as made:
        yield made


async def end(at: Desk, writer: Writer) -> None:
    await at.appender.end(writer, completed(), ttl_seconds=100)


def blocked(node: Node) -> int:
    return int(node.client.info("clients")["blocked_clients"])


def readers(node: Node) -> int:
    return sum(client["cmd"] == "xread" for client in node.client.client_list())


async def seen(client: Client, count: int) -> None:
    """Wait until a client has been told so much."""
    await eventually(lambda: len(client.events) >= count)


async def test_logs_on_all_nodes_are_followed_from_before_they_exist(at: Desk, tails: Tails) -> None:
    # Given followers of jobs in all partitions, two in each, that wait in the queue
    jobs = [job for partition in range(24) for job, _ in zip(in_partition(partition), range(2), strict=False)]
    clients = [Client(tails, job) for job in jobs]
    await eventually(lambda: sum(map(blocked, at.nodes.primaries)) == 24)
    # When they all run
    writers = [await at.begin(job) for job in jobs]
    for writer in writers:
        say(writer, range(10))
        await end(at, writer)
    # Then every follower sees its own, and no log has cost a connection of its own
    for client in clients:
        assert await client.ended() == expected(range(10), completed())
    assert [readers(node) for node in at.nodes.primaries] == [8, 8, 8]


async def test_a_partition_that_nobody_watches_any_more_costs_no_connection(
    at: Desk, tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "IDLE_SECONDS", 0.01)
    node = at.nodes.primaries[0]
    writer = await at.begin(at=node)
    # Given a log that is watched
    client = Client(tails, writer.job_id)
    await seen(client, 1)
    assert readers(node) == 1
    # When its last follower leaves; Then the connection is closed after a while
    await client.gone()
    await eventually(lambda: readers(node) == 0)
    # And who comes then is served
    say(writer, "ab")
    await end(at, writer)
    assert await Client(tails, writer.job_id).ended() == expected("ab", completed())


async def test_resuming_from_every_cursor_is_the_rest_of_the_whole(at: Desk, tails: Tails) -> None:
    writer = await at.begin()
    say(writer, range(5))
    await end(at, writer)
    whole = expected(range(5), completed())
    for index, (entry_id, _) in enumerate(whole):
        assert await Client(tails, writer.job_id, Cursor.parse(entry_id)).ended() == whole[index + 1 :]


# Moves


async def test_followers_go_on_where_their_slot_has_moved_to(at: Desk, tails: Tails) -> None:
    # Given a follower in mid-log
    home, other = at.nodes.primaries[:2]
    writer = await at.begin(at=home)
    client = Client(tails, writer.job_id)
    say(writer, "ab")
    await seen(client, 3)
    await eventually(lambda: blocked(home))
    with at.nodes.on_its_way(writer.key, other) as move, capture_logs() as told:
        # When the slot moves, and the log goes on
        move.begin().finish()
        say(writer, "cd")
        await end(at, writer)
        # Then so does the follower, and one who comes now gets it all
        assert await client.ended() == expected("abcd", completed())
        assert await Client(tails, writer.job_id).ended() == expected("abcd", completed())
        # And no operator is alarmed
        assert told == []


async def test_logs_on_their_way_are_not_asked_for_all_the_time(at: Desk, tails: Tails) -> None:
    # Given a follower of a log that does not exist yet, whose slot is on its way
    home, (spare,) = at.nodes.primaries[0], at.nodes.spare
    job_id = at.nodes.job_at(home)
    with at.nodes.on_its_way(keys.log(job_id), spare) as move:
        move.begin()
        before = reads(spare)
        client = Client(tails, job_id)
        # When nothing happens for a while
        await asyncio.wait([client.task], timeout=0.5)
        # Then its node is asked now and then
        assert 1 < reads(spare) - before < 50
        await client.gone()


def reads(node: Node) -> int:
    return int(node.client.info("commandstats").get("cmdstat_xread", {"calls": 0})["calls"])


async def test_followers_go_on_while_their_slot_is_on_its_way(at: Desk, tails: Tails) -> None:
    # Given followers of a log that will be carried to a node that had no slot, of one that will be left for
    # the time being, and of one that does not exist yet
    (spare,) = at.nodes.spare
    carried = await at.begin(at=at.nodes.primaries[1])
    ids = in_partition(int(carried.key[4:6]))
    left, late = await at.begin(next(ids)), next(ids)
    clients = {job: Client(tails, job) for job in (carried.job_id, left.job_id, late)}
    with at.nodes.on_its_way(carried.key, spare) as move:
        for writer in (carried, left):
            say(writer, "ab")
            await seen(clients[writer.job_id], 3)
        move.begin().carry(carried.key)
        # When all go on
        begun = await at.begin(late)
        for writer in (carried, left, begun):
            say(writer, "cd")
        # Then all followers hear of it before the move is over
        for writer, count in ((carried, 5), (left, 5), (begun, 3)):
            await seen(clients[writer.job_id], count)
        # And who comes with a cursor is told what follows, or that it can't be proven
        rest = Client(tails, carried.job_id, Cursor(FENCE, 2))
        await seen(rest, 2)
        unknown = Client(tails, carried.job_id, Cursor(FENCE, 99))
        await seen(unknown, 6)
        # And when all has arrived, they see the endings
        move.finish()
        for writer in (carried, left, begun):
            await end(at, writer)
        for writer in (carried, left):
            assert await clients[writer.job_id].ended() == expected("abcd", completed())
        assert await clients[late].ended() == expected("cd", completed())
        assert await rest.ended() == expected("abcd", completed())[3:]
        assert (await unknown.ended())[0] == (None, {"type": "reset", "requested": f"{FENCE}-99"})


async def test_a_log_that_is_brought_back_is_followed_back(at: Desk, tails: Tails) -> None:
    writer = await at.begin(at=at.nodes.primaries[2])
    client = Client(tails, writer.job_id)
    with at.nodes.on_its_way(writer.key, at.nodes.spare[0]) as move:
        # Given a follower of a log that was carried
        move.begin().carry()
        say(writer, "ab")
        await seen(client, 3)
        # When the move is called off
        move.cancel()
        say(writer, "cd")
        await end(at, writer)
        assert await client.ended() == expected("abcd", completed())


async def test_whatever_becomes_of_their_slot_followers_see_the_words_in_order(
    at: Desk, tails: Tails
) -> None:
    # Given logs that share a slot, which wanders, each with a follower that stays and one that comes and goes
    dice, home = random.Random(11), at.nodes.primaries[0]
    first = await at.begin(at=home)
    ids = in_partition(int(first.key[4:6]))
    writers = [first, *[await at.begin(next(ids)) for _ in range(3)]]
    staying = [Client(tails, writer.job_id) for writer in writers]
    coming = [Wanderer(tails, writer.job_id) for writer in writers]
    said = 0

    async def speak() -> None:
        nonlocal said
        for _ in range(dice.randrange(1, 8)):
            for writer in writers:
                say(writer, [said])
            said += 1
            await asyncio.sleep(0 if dice.random() < 0.7 else 0.002)
        for wanderer in dice.sample(coming, 2):
            await wanderer.go_and_come_back()

    for _ in range(4):
        here = at.nodes.holder(first.key)
        stop = dice.choice([node for node in at.nodes.primaries if node is not here])
        move = at.nodes.moving(first.key, stop).begin()
        await speak()
        if dice.random() < 0.3:
            move.cancel()
        else:
            for writer in dice.sample(writers, 2):
                move.carry(writer.key)
                await speak()
            # Now and then the world stands still until everybody has heard
            if dice.random() < 0.5:
                for client in staying:
                    await seen(client, said + 1)
            move.finish()
        await speak()
    back = at.nodes.moving(first.key, home)
    if back.source is not home:
        back.begin().finish()
    # Then all see all, once, in order
    for writer, client, wanderer in zip(writers, staying, coming, strict=True):
        await end(at, writer)
        assert await client.ended() == expected(range(said), completed())
        assert await wanderer.ended() == expected(range(said), completed())


class Wanderer:
    """A client that drops its connection now and then and comes back with its cursor."""

    def __init__(self, tails: Tails, job_id: str) -> None:
        self._tails = tails
        self._client = Client(tails, job_id)
        self._before: list[Any] = []

    async def go_and_come_back(self) -> None:
        await self._client.gone()
        self._before += self._client.events
        after = [Cursor.parse(self._before[-1][0])] if self._before else []
        self._client = Client(self._tails, self._client.follower.tail.job_id, *after)

    async def ended(self) -> list[Any]:
        return self._before + await self._client.ended()


# Nodes that die


async def test_followers_of_other_nodes_go_on_while_one_is_away_and_its_own_when_it_is_back(
    new_nodes: Callable[..., Nodes],
) -> None:
    nodes = new_nodes()
    async with desk_at(nodes) as at, tails_at(nodes.url) as tails:
        # Given followers of logs on two nodes
        dead, fine = nodes.primaries[:2]
        theirs, ours = await at.begin(at=dead), await at.begin(at=fine)
        clients = [Client(tails, writer.job_id) for writer in (theirs, ours)]
        for writer, client in zip((theirs, ours), clients, strict=True):
            say(writer, "a")
            await seen(client, 2)
        # When one node dies
        dead.kill()
        for word in "bcdefgh":
            say(theirs, word)
            say(ours, word)
            # Then the follower of the other hears every word as it is said
            await seen(clients[1], 1 + len("abcdefgh"[: "abcdefgh".index(word) + 1]))
        # And those who come for the dead one's log wait
        late = Client(tails, theirs.job_id)
        # And when it is back they hear all of it
        dead.start()
        for writer in (theirs, ours):
            await end(at, writer)
        for client in (*clients, late):
            assert await client.ended() == expected("abcdefgh", completed())


async def test_followers_that_are_ahead_of_a_promoted_replica_see_nothing_twice(
    new_nodes: Callable[..., Nodes],
) -> None:
    nodes = new_nodes(replicas=1)
    primary, (replica,) = nodes.primaries[0], nodes.replicas
    async with desk_at(nodes) as at, tails_at(nodes.url) as tails:
        # Given a follower that has seen more than the replica got
        writer = await at.begin(at=primary)
        client = Client(tails, writer.job_id)
        say(writer, "ab")
        await seen(client, 3)
        nodes.cut_off(replica, primary)
        say(writer, "cd")
        await seen(client, 5)
        # When that takes its primary's place
        primary.kill()
        say(writer, "ef")
        await end(at, writer)
        # Then the follower goes on where it was
        assert await client.ended() == expected("abcdef", completed())


async def test_a_log_of_a_node_that_nobody_holds_any_more_keeps_nobody_else_waiting(
    at: Desk, tails: Tails
) -> None:
    # Given a slot that nobody holds, and a follower of a log there
    orphan = at.nodes.job_at(at.nodes.primaries[0])
    with at.nodes.orphaned(keys.log(orphan)):
        waiting = Client(tails, orphan)
        # When others follow other logs
        writer = await at.begin(new_id(), at=at.nodes.primaries[1])
        await end(at, writer)
        # Then they are served
        assert await Client(tails, writer.job_id).ended() == expected([], completed())
    # And it is when somebody holds the slot again
    writer = await at.begin(orphan)
    say(writer, "x")
    await end(at, writer)
    assert await waiting.ended() == [(f"{FENCE}-0", attempt()), *expected("x", completed())[1:]]
    assert delta("x") in [event for _, event in waiting.events]
