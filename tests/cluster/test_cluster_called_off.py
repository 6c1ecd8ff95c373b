"""A move of a slot is called off when some logs have been carried, which then stand where nobody looks.

Until they are back, the owner of the slot knows nothing of them.
"""

from __future__ import annotations

import pytest
from following import Client
from given import completed
from nodes import Nodes
from pens import FENCE, Desk, expected, say

from tokentail.api.tails import Tails
from tokentail.shared.errors import Superseded


async def test_logs_that_are_back_before_more_is_said_go_on(at: Desk, tails: Tails, nodes: Nodes) -> None:
    # Given attempts in mid-answer, each with a follower; one of their logs has been carried
    home, other = nodes.primaries[:2]
    carried = await at.begin(at=home)
    writers = [carried, *await at.begin_beside(carried, 1)]
    clients = [Client(tails, writer.job_id) for writer in writers]
    for writer, client in zip(writers, clients, strict=True):
        say(writer, "ab")
        await client.saw(3)
    with nodes.on_its_way(carried.key, other) as move:
        move.begin().carry(carried.key)
        # When the move is called off and the log is brought back while the models think
        move.call_off().bring_back()
        # Then all go on as if nothing had been
        for writer, client in zip(writers, clients, strict=True):
            say(writer, "cd")
            await at.end(writer)
            assert at.log(writer) == await client.ended() == expected("abcd", completed())


async def test_a_log_that_was_written_over_there_is_written_again_where_it_belongs(
    at: Desk, tails: Tails, nodes: Nodes
) -> None:
    # Given an attempt that has said something since its log was carried
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    client = Client(tails, writer.job_id)
    say(writer, "ab")
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().carry(writer.key)
        say(writer, "cd")
        await client.saw(5)
        # When the move is called off, and it goes on before the log is back
        move.call_off()
        say(writer, "ef")
        await at.stored(writer)
        # Then all of it stands here, under the same ids, and its follower sees nothing twice
        assert at.log(writer) == expected("abcdef")
        await client.saw(7)
        # And stays so when the old copy is found
        move.bring_back()
        say(writer, "gh")
        await at.end(writer)
        assert at.log(writer) == await client.ended() == expected("abcdefgh", completed())


async def test_an_attempt_that_finds_its_log_gone_gives_its_job_to_the_next(
    at: Desk, tails: Tails, nodes: Nodes
) -> None:
    # Given an attempt that has heard nothing of the move before it is called off
    home, other = nodes.primaries[:2]
    writer = await at.begin(at=home)
    client = Client(tails, writer.job_id)
    say(writer, "ab")
    await client.saw(3)
    with nodes.on_its_way(writer.key, other) as move:
        move.begin().carry(writer.key)
        move.call_off()
        # When it goes on before the log is back; Then it takes that for deleted or somebody else's
        say(writer, "cd")
        with pytest.raises(Superseded):
            await at.stored(writer)
        # And the next attempt begins, beside which the old copy changes nothing
        newer = await at.begin(writer.job_id, fence=FENCE + 1)
        move.bring_back()
        say(newer, "xy")
        await at.end(newer)
        anew = expected("xy", completed(), fence=FENCE + 1)
        assert at.log(newer) == anew
        # And the follower is told so
        assert await client.ended() == expected("ab") + anew
