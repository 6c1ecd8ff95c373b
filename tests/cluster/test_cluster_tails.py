"""Followers see each entry once and in order, whichever node holds the log by now."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from following import Client
from given import completed, eventually
from nodes import Node, in_partition
from pens import FENCE, Desk, expected, say
from structlog.testing import capture_logs
from wandering import wander

from tokentail.api import reader as reader_module
from tokentail.api.tails import Tails
from tokentail.shared import keys
from tokentail.shared.cursor import Cursor


def readers(node: Node) -> int:
    """How many are told there what changes."""
    return sum("t" in client["flags"] for client in node.client.client_list())


async def test_logs_on_all_nodes_are_followed_from_before_they_exist(at: Desk, tails: Tails) -> None:
    # Given followers of jobs in all partitions, two in each, that wait in the queue
    jobs = [job for partition in range(24) for job, _ in zip(in_partition(partition), range(2), strict=False)]
    clients = [Client(tails, job) for job in jobs]
    await eventually(lambda: sum(map(readers, at.nodes.primaries)) == 24)
    # When they all run
    writers = [await at.begin(job) for job in jobs]
    for writer in writers:
        say(writer, range(10))
        await at.end(writer)
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
    await client.saw(1)
    assert readers(node) == 1
    # When it is forgotten; Then the connection is closed after a while
    await client.gone()
    tails.forget(client.follower.tail)
    await eventually(lambda: readers(node) == 0)
    # And who comes then is served
    say(writer, "ab")
    await at.end(writer)
    assert await Client(tails, writer.job_id).ended() == expected("ab", completed())


async def test_resuming_from_every_cursor_is_the_rest_of_the_whole(at: Desk, tails: Tails) -> None:
    writer = await at.begin()
    say(writer, range(5))
    await at.end(writer)
    whole = expected(range(5), completed())
    for index, (entry_id, _) in enumerate(whole):
        assert await Client(tails, writer.job_id, Cursor.parse(entry_id)).ended() == whole[index + 1 :]


async def test_followers_go_on_where_their_slot_has_moved_to(at: Desk, tails: Tails) -> None:
    # Given a follower in mid-log
    home, other = at.nodes.primaries[:2]
    writer = await at.begin(at=home)
    client = Client(tails, writer.job_id)
    say(writer, "ab")
    await client.saw(3)
    await eventually(lambda: readers(home))
    with at.nodes.on_its_way(writer.key, other) as move, capture_logs() as told:
        # When the slot moves, and the log goes on
        move.begin().finish()
        say(writer, "cd")
        await at.end(writer)
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
            await clients[writer.job_id].saw(3)
        move.begin().carry(carried.key)
        # When all go on
        begun = await at.begin(late)
        for writer in (carried, left, begun):
            say(writer, "cd")
        # Then all followers hear of it before the move is over
        for writer, count in ((carried, 5), (left, 5), (begun, 3)):
            await clients[writer.job_id].saw(count)
        # And who comes with a cursor is told what follows, or that it can't be proven
        rest = Client(tails, carried.job_id, Cursor(FENCE, 2))
        await rest.saw(2)
        unknown = Client(tails, carried.job_id, Cursor(FENCE, 99))
        await unknown.saw(6)
        # And when all has arrived, they see the endings
        move.finish()
        for writer in (carried, left, begun):
            await at.end(writer)
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
        await client.saw(3)
        # When the move is called off
        move.cancel()
        say(writer, "cd")
        await at.end(writer)
        assert await client.ended() == expected("abcd", completed())


async def test_whatever_becomes_of_their_slot_followers_see_the_words_in_order(
    at: Desk, tails: Tails
) -> None:
    # Given logs that share a slot, each with a follower that stays and one that comes and goes
    dice, said = random.Random(11), 0
    first = await at.begin(at=at.nodes.primaries[0])
    writers = [first, *await at.begin_beside(first, 3)]
    staying = [Client(tails, writer.job_id) for writer in writers]
    coming = [Wanderer(tails, writer.job_id) for writer in writers]

    async def speak() -> None:
        nonlocal said
        for _ in range(dice.randrange(1, 8)):
            for writer in writers:
                say(writer, [said])
            said += 1
            # Some words come together, some apart.
            await asyncio.sleep(0 if dice.random() < 0.7 else 0.002)
        for wanderer in dice.sample(coming, 2):
            await wanderer.go_and_come_back()
        # Now and then the world stands still until everybody has heard
        if dice.random() < 0.2:
            for client in staying:
                await client.saw(said + 1)

    # When it wanders while they speak
    await wander(at.nodes, writers, dice, speak)
    # Then all see all, once, in order
    for writer, client, wanderer in zip(writers, staying, coming, strict=True):
        await at.end(writer)
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
