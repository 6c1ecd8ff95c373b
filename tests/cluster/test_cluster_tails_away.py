"""Followers of logs whose node is away, has lost something, or is nobody."""

from __future__ import annotations

from collections.abc import Callable

from following import Client, tails_at
from given import attempt, completed, delta
from nodes import Nodes
from pens import FENCE, Desk, desk_at, expected, say

from tokentail.api.tails import Tails
from tokentail.shared import keys
from tokentail.shared.job import new_id


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
            await client.saw(2)
        # When one node dies
        dead.kill()
        for word in "bcdefgh":
            say(theirs, word)
            say(ours, word)
            # Then the follower of the other hears every word as it is said
            await clients[1].saw(1 + len("abcdefgh"[: "abcdefgh".index(word) + 1]))
        # And those who come for the dead one's log wait
        late = Client(tails, theirs.job_id)
        # And when it is back they hear all of it
        dead.start()
        for writer in (theirs, ours):
            await at.end(writer)
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
        await client.saw(3)
        nodes.cut_off(replica, primary)
        say(writer, "cd")
        await client.saw(5)
        # When that takes its primary's place
        primary.kill()
        say(writer, "ef")
        await at.end(writer)
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
        await at.end(writer)
        # Then they are served
        assert await Client(tails, writer.job_id).ended() == expected([], completed())
    # And it is when somebody holds the slot again
    writer = await at.begin(orphan)
    say(writer, "x")
    await at.end(writer)
    assert await waiting.ended() == [(f"{FENCE}-0", attempt()), *expected("x", completed())[1:]]
    assert delta("x") in [event for _, event in waiting.events]
