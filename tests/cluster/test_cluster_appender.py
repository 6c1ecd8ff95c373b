"""Every entry once and in order, whichever node holds the log by now."""

from __future__ import annotations

import asyncio
import random

import pytest
from given import completed
from nodes import Nodes, in_partition
from pens import FENCE, Desk, expected, say
from wandering import wander

from tokentail.shared.errors import Superseded


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
        await at.end(writer)
    # Then each log is whole
    for writer in writers:
        assert at.log(writer) == expected(range(20), completed())
    # And each node has seen one connection that wrote tokens
    for node in nodes.primaries:
        assert sum(client["cmd"] in ("xadd", "exec") for client in node.client.client_list()) == 1


async def test_an_attempt_goes_on_where_its_slot_has_moved_to(at: Desk, nodes: Nodes) -> None:
    # Given an attempt in mid-answer
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    say(writer, range(5))
    await at.stored(writer)
    # When its slot moves
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().finish()
        say(writer, range(5, 10))
        await at.stored(writer)
        # Then it goes on there
        assert at.log(writer) == expected(range(10))
        assert other.client.xlen(writer.key) == 11
        # And its ending goes there at once, not first to where the slot was
        told = nodes.moves_told()
        await at.end(writer)
        assert nodes.moves_told() == told
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
        await at.stored(writer)
    with nodes.on_its_way(carried.key, spare) as move:
        move.begin().carry(carried.key)
        # When both go on, and one begins
        begun = await at.begin(late)
        for writer in (carried, left, begun):
            say(writer, range(5, 5 + words))
            await at.stored(writer)
            assert not writer.lost
        # Then they do where they are
        assert spare.client.execute_command("CLUSTER", "COUNTKEYSINSLOT", move.slot) == 2
        assert home.client.xlen(left.key) == words + 6
        # And when all has arrived, there
        move.finish()
        for writer in (carried, left, begun):
            await at.end(writer)
        assert at.log(carried) == at.log(left) == expected(range(5 + words), completed())
        assert at.log(begun) == expected(range(5, 5 + words), completed())


async def test_an_attempt_goes_back_with_a_log_that_is_brought_back(at: Desk, nodes: Nodes) -> None:
    # Given an attempt that was sent to the node that takes its slot over
    home, (spare,) = nodes.primaries[2], nodes.spare
    writer = await at.begin(at=home)
    with nodes.on_its_way(writer.key, spare) as move:
        move.begin().carry()
        say(writer, range(3))
        await at.stored(writer)
        # When the move is called off
        move.cancel()
        say(writer, range(3, 6))
        await at.stored(writer)
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
        await at.stored(writer)
        # When, while its model thinks, the slot arrives there, goes back and is on its way there once more
        move.finish()
        nodes.moving(writer.key, home).begin().finish()
        nodes.moving(writer.key, other).begin()
        # Then it goes on where its log is
        say(writer, "cd")
        await at.end(writer)
        assert at.log(writer) == expected("abcd", completed())
        assert home.client.exists(writer.key)


async def test_an_ending_finds_a_log_that_slept_through_several_moves(at: Desk, nodes: Nodes) -> None:
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().carry()
        say(writer, "ab")
        await at.stored(writer)
        move.finish()
        nodes.moving(writer.key, home).begin().finish()
        nodes.moving(writer.key, other).begin()
        # When its lane has to ask how far the log goes
        assert writer.lane is not None
        writer.lane.doubt([writer])
        await at.end(writer)
        # Then it does not begin another one where it is not
        assert at.log(writer) == expected("ab", completed())
        assert home.client.xlen(writer.key) == 4


async def test_a_node_that_got_the_slot_without_the_log_is_given_all_of_it(at: Desk, nodes: Nodes) -> None:
    # Given an attempt in mid-answer, and one that is written to another node
    home, other = nodes.primaries[:2]
    writer, its = await at.begin(at=home), await at.begin(at=other)
    for one in (writer, its):
        say(one, range(5))
        await at.stored(one)
    # When that node takes the first one's slot without what was in it, as after losing all copies
    with nodes.on_its_way(writer.key, other) as move:
        home.client.delete(writer.key)
        move.begin().finish()
        say(writer, [5])
        await at.stored(writer)
        # Then the owner writes it again
        assert at.log(writer) == expected(range(6))


async def test_a_log_that_was_forgotten_on_its_way_is_written_again(at: Desk, nodes: Nodes) -> None:
    home, (spare,) = nodes.primaries[0], nodes.spare
    writer, its = await at.begin(at=home), await at.begin(at=home)
    say(writer, "ab")
    await at.stored(writer)
    with nodes.on_its_way(writer.key, spare) as move:
        # Given a slot on its way, and a log in it that no node has
        home.client.delete(writer.key)
        move.begin()
        # When its attempt goes on
        say(writer, "cd")
        say(its, "x")
        await at.end(writer)
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
            await at.stored(writer)
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
        await at.stored(fine)
        assert at.log(writer) == []


async def test_whatever_becomes_of_their_slot_logs_are_their_words_in_order(at: Desk, nodes: Nodes) -> None:
    # Given attempts that share a slot
    dice, said = random.Random(7), 0
    first = await at.begin(at=nodes.primaries[0])
    writers = [first, *await at.begin_beside(first, 4)]

    async def speak() -> None:
        nonlocal said
        for _ in range(dice.randrange(1, 8)):
            for writer in writers:
                say(writer, [said])
            said += 1
            # Some words come together, some apart.
            await asyncio.sleep(0 if dice.random() < 0.7 else 0.002)

    # When it wanders while they speak
    await wander(nodes, writers, dice, speak)
    # Then nothing was lost, doubled or reordered, and no attempt lost its log
    for writer in writers:
        await at.end(writer)
        assert at.log(writer) == expected(range(said), completed())
