"""Every entry once and in order, whichever node holds the log by now."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
from given import PATIENCE_SECONDS, completed, eventually
from nodes import Node, Nodes, in_partition
from pens import FENCE, Desk, desk_at, expected, say

from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import Superseded
from tokentail.worker.writer import Writer


@pytest.fixture
async def at(nodes: Nodes) -> AsyncIterator[Desk]:
    async with desk_at(nodes) as made:
        yield made


async def test_attempts_on_all_nodes_write_their_logs_over_one_connection_to_each(
    at: Desk, nodes: Nodes
) -> None:
    # Given attempts in all partitions, that speak in turns
    writers = [await at.begin(next(in_partition(partition))) for partition in range(24)]
    for word in range(20):
        for writer in writers:
            say(writer, [word])
        await asyncio.sleep(0)
    # When they end
    for writer in writers:
        await at.appender.end(writer, completed(), ttl_seconds=100)
    # Then each log is whole
    for writer in writers:
        assert at.log(writer) == expected(range(20), completed())
    # And each node has seen one connection that wrote tokens
    for node in nodes.primaries:
        assert sum(client["cmd"] in ("xadd", "exec") for client in node.client.client_list()) == 1


# Moves


async def test_an_attempt_goes_on_where_its_slot_has_moved_to(at: Desk, nodes: Nodes) -> None:
    # Given an attempt in mid-answer
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    say(writer, range(5))
    await writer.flushed()
    # When its slot moves
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().finish()
        say(writer, range(5, 10))
        await writer.flushed()
        # Then it goes on there
        assert at.log(writer) == expected(range(10))
        assert other.client.xlen(writer.key) == 11
        await at.appender.end(writer, completed(), ttl_seconds=100)
        assert at.log(writer) == expected(range(10), completed())


@pytest.mark.parametrize("words", [1, 30])
async def test_an_attempt_goes_on_while_its_slot_is_on_its_way_to_a_new_node(
    at: Desk, nodes: Nodes, words: int
) -> None:
    # Given a slot that is on its way to a node that had none, with one log carried and one left
    home, (spare,) = nodes.primaries[1], nodes.spare
    carried = await at.begin(at=home)
    partition = int(carried.key[4:6])
    left, late = await at.begin(next(in_partition(partition))), next(in_partition(partition))
    for writer in (carried, left):
        say(writer, range(5))
        await writer.flushed()
    with nodes.on_its_way(carried.key, spare) as move:
        move.begin().carry(carried.key)
        # When both go on, and one begins
        begun = await at.begin(late)
        for writer in (carried, left, begun):
            say(writer, range(5, 5 + words))
            await writer.flushed()
            assert not writer.lost
        # Then they do where they are
        assert spare.client.execute_command("CLUSTER", "COUNTKEYSINSLOT", move.slot) == 2
        assert home.client.xlen(left.key) == words + 6
        # And when all has arrived, there
        move.finish()
        for writer in (carried, left, begun):
            await at.appender.end(writer, completed(), ttl_seconds=100)
        assert at.log(carried) == at.log(left) == expected(range(5 + words), completed())
        assert at.log(begun) == expected(range(5, 5 + words), completed())


async def test_an_attempt_goes_back_with_a_log_that_is_brought_back(at: Desk, nodes: Nodes) -> None:
    # Given an attempt that was sent to the node that takes its slot over
    home, (spare,) = nodes.primaries[2], nodes.spare
    writer = await at.begin(at=home)
    with nodes.on_its_way(writer.key, spare) as move:
        move.begin().carry()
        say(writer, range(3))
        await writer.flushed()
        # When the move is called off
        move.cancel()
        say(writer, range(3, 6))
        await writer.flushed()
        # Then nothing is missing
        assert at.log(writer) == expected(range(6))
        assert home.client.xlen(writer.key) == 7


async def test_an_attempt_that_slept_through_several_moves_finds_its_log(at: Desk, nodes: Nodes) -> None:
    # Given an attempt that was sent to a node on whose way its slot was
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().carry()
        say(writer, "ab")
        await writer.flushed()
        # When, while its model thinks, the slot arrives there, goes back and is on its way there once more
        move.finish()
        nodes.moving(writer.key, home).begin().finish()
        nodes.moving(writer.key, other).begin()
        # Then it goes on where its log is
        say(writer, "cd")
        await at.appender.end(writer, completed(), ttl_seconds=100)
        assert at.log(writer) == expected("abcd", completed())
        assert home.client.exists(writer.key)


async def test_an_ending_finds_a_log_that_slept_through_several_moves(at: Desk, nodes: Nodes) -> None:
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().carry()
        say(writer, "ab")
        await writer.flushed()
        move.finish()
        nodes.moving(writer.key, home).begin().finish()
        nodes.moving(writer.key, other).begin()
        # When its lane has to ask how far the log goes
        assert writer.lane is not None
        writer.lane.doubt([writer])
        await at.appender.end(writer, completed(), ttl_seconds=100)
        # Then it does not begin another one where it is not
        assert at.log(writer) == expected("ab", completed())
        assert home.client.xlen(writer.key) == 4


async def test_a_node_that_got_the_slot_without_the_log_is_given_all_of_it(at: Desk, nodes: Nodes) -> None:
    # Given an attempt in mid-answer, and one that is written to another node
    home, other = nodes.primaries[:2]
    writer, its = await at.begin(at=home), await at.begin(at=other)
    for one in (writer, its):
        say(one, range(5))
        await one.flushed()
    # When that node takes the first one's slot without what was in it, as after losing all copies
    with nodes.on_its_way(writer.key, other) as move:
        home.client.delete(writer.key)
        move.begin().finish()
        say(writer, [5])
        await writer.flushed()
        # Then the owner writes it again
        assert at.log(writer) == expected(range(6))


async def test_a_log_that_was_forgotten_on_its_way_is_written_again(at: Desk, nodes: Nodes) -> None:
    home, (spare,) = nodes.primaries[0], nodes.spare
    writer, its = await at.begin(at=home), await at.begin(at=home)
    say(writer, "ab")
    await writer.flushed()
    with nodes.on_its_way(writer.key, spare) as move:
        # Given a slot on its way, and a log in it that no node has
        home.client.delete(writer.key)
        move.begin()
        # When its attempt goes on
        say(writer, "cd")
        say(its, "x")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await at.appender.end(writer, completed(), ttl_seconds=100)
        # Then all of it is where what is new belongs
        assert spare.client.execute_command("CLUSTER", "COUNTKEYSINSLOT", move.slot) == 1
        move.finish()
        assert at.log(writer) == expected("abcd", completed())


async def test_a_newer_attempt_on_the_other_node_is_respected(at: Desk, nodes: Nodes) -> None:
    # Given an attempt whose slot moves, and a newer one that began behind its back
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().finish()
        other.client.xadd(writer.key, {"e": b'{"type":"attempt","attempt":2}'}, id=f"{FENCE + 1}-0")
        # When the old one goes on
        say(writer, range(3))
        with pytest.raises(Superseded):
            await writer.flushed()
        assert len(at.log(writer)) == 2


async def test_a_log_that_was_deleted_while_its_slot_moved_is_not_made_again(at: Desk, nodes: Nodes) -> None:
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().finish()
        # When it is deleted and its owner is told
        at.appender.close(writer)
        await at.logs.delete(writer.job_id)
        say(writer, range(3))
        # Then it stays so, also when others go on there
        fine = await at.begin(at=other)
        say(fine, "x")
        await fine.flushed()
        assert at.log(writer) == []


async def test_whatever_becomes_of_their_slot_logs_are_their_words_in_order(at: Desk, nodes: Nodes) -> None:
    # Given attempts that share a slot, which wanders
    dice, home = random.Random(7), nodes.primaries[0]
    first = await at.begin(at=home)
    ids = in_partition(int(first.key[4:6]))
    writers = [first, *[await at.begin(next(ids)) for _ in range(4)]]
    said = 0

    async def speak() -> None:
        nonlocal said
        for _ in range(dice.randrange(1, 8)):
            for writer in writers:
                say(writer, [said])
            said += 1
            await asyncio.sleep(0 if dice.random() < 0.7 else 0.002)

    for _ in range(4):
        here = nodes.holder(first.key)
        stop = dice.choice([node for node in nodes.primaries if node is not here])
        # When each step of a move is taken while they speak
        move = nodes.moving(first.key, stop)
        move.begin()
        await speak()
        if dice.random() < 0.3:
            move.cancel()
        else:
            for writer in dice.sample(writers, 3):
                move.carry(writer.key)
                await speak()
            move.finish()
        await speak()
    back = nodes.moving(first.key, home)
    if back.source is not home:
        back.begin().finish()
    # Then nothing was lost, doubled or reordered, and no attempt lost its log
    for writer in writers:
        await at.appender.end(writer, completed(), ttl_seconds=100)
        assert at.log(writer) == expected(range(said), completed())


async def test_nodes_that_do_not_agree_cost_one_log_time_and_nobody_else(at: Desk, nodes: Nodes) -> None:
    # Given a slot that two nodes call each other's
    one, two = nodes.primaries[:2]
    writer, fine = await at.begin(at=one), await at.begin(at=two)
    move = nodes.moving(writer.key, two)
    one.client.delete(writer.key)
    move.set_owner(one, two)
    move.set_owner(two, one)
    before = moves_told(one, two)
    say(writer, "ab")
    # When others go on there for a while
    for word in range(100):
        say(fine, [word])
        await fine.flushed()
    # Then they do, and the nodes are not asked all the time
    assert at.log(fine) == expected(range(100))
    await eventually(lambda: moves_told(one, two) - before > 5)
    assert moves_told(one, two) - before < 30
    # And when they agree, the log goes on
    move.set_owner(one, one)
    await writer.flushed()
    assert at.log(writer) == expected("ab")
    nodes.until_well()


async def test_a_log_is_asked_about_before_it_is_told_more_also_after_a_pause(at: Desk, nodes: Nodes) -> None:
    # Given a slot that two nodes call each other's, so that its log has to wait between two tries
    one, two = nodes.primaries[:2]
    writer = await at.begin(at=one)
    say(writer, "ab")
    await writer.flushed()
    move = nodes.moving(writer.key, two)
    one.client.delete(writer.key)
    move.set_owner(one, two)
    move.set_owner(two, one)
    say(writer, "c")
    await eventually(lambda: waits_for(writer, two))
    # When the second one gets it, with the beginning of the log only, and the attempt goes on
    for node in nodes.all:
        move.set_owner(node, two)
    two.client.xadd(writer.key, {"e": writer.entries[0]}, id=f"{FENCE}-0")
    say(writer, "d")
    await writer.flushed()
    # Then there is no gap
    assert at.log(writer) == expected("abcd")
    nodes.until_agreed()
    nodes.moving(writer.key, one).begin().finish()
    nodes.until_well()


def waits_for(writer: Writer, node: Node) -> bool:
    """Whether a writer is to be tried with a node after a pause."""
    lane = writer.lane
    return lane is not None and lane.node == node.name and writer not in lane.writers


def moves_told(*nodes: Node) -> int:
    """How often these nodes have sent somebody on."""
    return sum(
        stat["count"]
        for node in nodes
        for name, stat in node.client.info("errorstats").items()
        if name == "errorstat_MOVED"
    )


# Nodes that die


async def test_a_node_that_is_away_holds_up_only_its_own_logs_and_forgets_nothing(
    new_nodes: Callable[..., Nodes],
) -> None:
    nodes = new_nodes()
    async with desk_at(nodes) as at:
        # Given attempts on two nodes
        dead, fine = nodes.primaries[:2]
        theirs, ours = await at.begin(at=dead), await at.begin(at=fine)
        for writer in (theirs, ours):
            say(writer, range(5))
            await writer.flushed()
        # When one node dies
        dead.kill()
        for word in range(5, 50):
            say(theirs, [word])
            say(ours, [word])
            # Then the other's attempts go on
            await ours.flushed()
        assert at.log(ours) == expected(range(50))
        assert theirs.acked == 6
        # And can end, and others begin there
        await at.appender.end(ours, completed(), ttl_seconds=100)
        await at.begin(at=fine)
        # And when the node is back, nothing is missing
        ending = asyncio.create_task(at.appender.end(theirs, completed(), ttl_seconds=100))
        dead.start()
        await ending
        nodes.until_well()
        assert at.log(theirs) == expected(range(50), completed())


@pytest.mark.parametrize("way", ["kill", "freeze"])
async def test_what_a_promoted_replica_did_not_get_is_written_again(
    new_nodes: Callable[..., Nodes], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SOCKET_TIMEOUT_SECONDS", 1.0)
    nodes = new_nodes(replicas=1)
    primary, (replica,) = nodes.primaries[0], nodes.replicas
    async with desk_at(nodes) as at:
        # Given attempts of which the replica has the beginning only
        writer, silent = await at.begin(at=primary), await at.begin(at=primary)
        for one in (writer, silent):
            say(one, range(5))
            await one.flushed()
        nodes.cut_off(replica, primary)
        for one in (writer, silent):
            say(one, range(5, 10))
            await one.flushed()
        # When it takes the place of its primary, which has died or just hangs
        getattr(primary, way)()
        await eventually(lambda: replica.client.info("replication")["role"] == "master", within=30)
        assert replica.client.xlen(writer.key) == 6
        # Then the owner writes the rest again, with the same ids, and goes on
        say(writer, range(10, 15))
        ending = await at.appender.end(writer, completed(), ttl_seconds=100)
        assert ending.cursor == Cursor(FENCE, 16)
        assert at.log(writer) == expected(range(15), completed())
        # And also that of a model that just thinks
        await silent.flushed()
        assert at.log(silent) == expected(range(10))
        # And an old primary that comes back changes nothing
        if way == "freeze":
            primary.resume()
            await eventually(lambda: primary.client.info("replication")["role"] == "slave", within=30)
            assert at.log(writer) == expected(range(15), completed())
