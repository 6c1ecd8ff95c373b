"""Attempts go on when nodes of a cluster disagree, are away, or have forgotten some of their logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from given import completed, eventually
from node import Node
from nodes import Nodes
from pens import FENCE, Desk, desk_at, expected, say

from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.worker.writer import Writer


async def test_nodes_that_do_not_agree_cost_one_log_time_and_nobody_else(at: Desk, nodes: Nodes) -> None:
    # Given a slot that two nodes call each other's
    one, two = nodes.primaries[:2]
    writer, fine = await at.begin(at=one), await at.begin(at=two)
    move = nodes.moving(writer.key, two)
    one.client.delete(writer.key)
    move.set_owner(one, two)
    move.set_owner(two, one)
    before = nodes.moves_told()
    say(writer, "ab")
    # When others go on there for a while
    for word in range(100):
        say(fine, [word])
        await at.stored(fine)
    # Then they do, and the nodes are not asked all the time
    assert at.log(fine) == expected(range(100))
    await eventually(lambda: nodes.moves_told() - before > 5)
    assert nodes.moves_told() - before < 30
    # And when they agree, the log goes on
    move.set_owner(one, one)
    await at.stored(writer)
    assert at.log(writer) == expected("ab")
    nodes.until_well()


async def test_a_log_is_asked_about_before_it_is_told_more_also_after_a_pause(at: Desk, nodes: Nodes) -> None:
    # Given a slot that two nodes call each other's, so that its log has to wait between two tries
    one, two = nodes.primaries[:2]
    writer = await at.begin(at=one)
    say(writer, "ab")
    await at.stored(writer)
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
    await at.stored(writer)
    # Then there is no gap
    assert at.log(writer) == expected("abcd")
    nodes.until_agreed()
    nodes.moving(writer.key, one).begin().finish()
    nodes.until_well()


def waits_for(writer: Writer, node: Node) -> bool:
    """Whether a writer is to be tried with a node after a pause."""
    lane = writer.lane
    return lane is not None and lane.node == node.name and writer not in lane.writers


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
            await at.stored(writer)
        # When one node dies
        dead.kill()
        for word in range(5, 50):
            say(theirs, [word])
            say(ours, [word])
            # Then the other's attempts go on
            await at.stored(ours)
        assert at.log(ours) == expected(range(50))
        assert theirs.acked == 6
        # And can end, and others begin there
        await at.end(ours)
        await at.begin(at=fine)
        # And when the node is back, nothing is missing
        ending = asyncio.create_task(at.end(theirs))
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
            await at.stored(one)
        nodes.cut_off(replica, primary)
        for one in (writer, silent):
            say(one, range(5, 10))
            await at.stored(one)
        # When it takes the place of its primary, which has died or just hangs
        getattr(primary, way)()
        await eventually(lambda: replica.client.info("replication")["role"] == "master", within=30)
        assert replica.client.xlen(writer.key) == 6
        # Then the owner writes the rest again, with the same ids, and goes on
        say(writer, range(10, 15))
        ending = await at.end(writer)
        assert ending.cursor == Cursor(FENCE, 16)
        assert at.log(writer) == expected(range(15), completed())
        # And also that of a model that just thinks
        await at.stored(silent)
        assert at.log(silent) == expected(range(10))
        # And an old primary that comes back changes nothing
        if way == "freeze":
            primary.resume()
            await eventually(lambda: primary.client.info("replication")["role"] == "slave", within=30)
            assert at.log(writer) == expected(range(15), completed())
