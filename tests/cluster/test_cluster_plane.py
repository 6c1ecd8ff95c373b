"""Commands find the node of their log, wherever it is by now."""

from __future__ import annotations

import asyncio

import pytest
from given import read
from nodes import Nodes, in_partition
from short_logs import ENDING, OPENING, end_log, open_log

from tokentail.shared import keys
from tokentail.shared.cluster import Cluster
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs


async def test_logs_of_every_partition_are_found(nodes: Nodes, plane: Cluster) -> None:
    logs = Logs(plane)
    for partition in range(plane.partitions):
        job_id = next(in_partition(partition))
        # When a log is opened, read and ended
        assert await open_log(logs, job_id) == 0
        assert await end_log(logs, job_id) is None
        assert await read(logs, job_id) == [OPENING, ENDING]
        assert await logs.last(job_id) == ENDING
        # Then it is on the node that the cluster says
        assert len(nodes.entries(keys.log(job_id))) == 2
        # And can be deleted there
        await logs.delete(job_id)
        assert await logs.last(job_id) is None


async def test_all_nodes_take_part(nodes: Nodes, plane: Cluster) -> None:
    logs = Logs(plane)
    for partition in range(plane.partitions):
        await open_log(logs, next(in_partition(partition)))
    assert [node.client.dbsize() for node in nodes.primaries] == [8, 8, 8]


async def test_one_node_that_answers_is_enough_to_find_the_others(nodes: Nodes) -> None:
    dead = "127.0.0.1:1"
    async with Cluster(f"redis+cluster://{dead},{nodes.primaries[2].name}") as plane:
        logs = Logs(plane)
        for partition in range(plane.partitions):
            assert await open_log(logs, next(in_partition(partition))) == 0


async def test_a_slot_that_has_moved_is_followed(nodes: Nodes, plane: Cluster) -> None:
    # Given a log that a client knows where to find
    logs, job_id = Logs(plane), new_id()
    await open_log(logs, job_id)
    other = next(node for node in nodes.primaries if node is not nodes.holder(keys.log(job_id)))
    # When its slot moves
    with nodes.on_its_way(keys.log(job_id), other) as move:
        move.begin().finish()
        # Then the log goes on there
        assert await end_log(logs, job_id) is None
        assert await read(logs, job_id) == [OPENING, ENDING]
        assert other.client.exists(keys.log(job_id))


async def test_a_slot_on_its_way_to_a_node_that_had_none_is_followed(nodes: Nodes, plane: Cluster) -> None:
    # Given a slot that moves to a new node, with a log that has been carried, one that has not, and none yet
    logs = Logs(plane)
    ids = in_partition(5)
    carried, left, new = next(ids), next(ids), next(ids)
    for job_id in (carried, left):
        await open_log(logs, job_id)
    (spare,) = nodes.spare
    with nodes.on_its_way(keys.log(carried), spare) as move:
        move.begin().carry(keys.log(carried))
        # When many talk about all of them at once, also with scripts that the new node does not know
        answers = await asyncio.gather(
            *(logs.last(job_id) for job_id in [carried, left] * 20), *(open_log(logs, new) for _ in range(10))
        )
        # Then everything is found, and what is new begins on the new node
        assert answers[:40] == [OPENING] * 40
        assert {type(answer) for answer in answers[40:]} == {int}
        assert await end_log(logs, carried) is None
        # And the slot is not taken for moved
        assert await plane.locate(keys.log(left)) == move.source.name
        # And when the move is over, it is all in one place
        move.finish()
        assert await read(logs, carried) == [OPENING, ENDING]
        assert await read(logs, left) == await read(logs, new) == [OPENING]
        assert {nodes.holder(keys.log(job_id)) for job_id in (carried, left, new)} == {spare}


async def test_an_ending_that_replicas_must_have_is_asked_for_also_where_a_slot_is_on_its_way(
    nodes: Nodes, plane: Cluster
) -> None:
    # Given a log that has been carried to the node that takes its slot over, which has no replica
    logs, job_id = Logs(plane, wait_replicas=1), new_id()
    await open_log(logs, job_id)
    with nodes.on_its_way(keys.log(job_id), nodes.spare[0]) as move:
        move.begin().carry()
        # When it is to end; Then that is refused for want of a replica only
        with pytest.raises(StoreUnavailable, match="Too few replicas"):
            await end_log(logs, job_id)
        assert await logs.last(job_id) == ENDING
