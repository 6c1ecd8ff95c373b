"""Commands find the node of their log, wherever it is by now, and no node holds up the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from given import attempt, completed, eventually, read
from nodes import Node, Nodes, in_partition

from tokentail.shared import events, keys
from tokentail.shared.cluster import Cluster
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.job import new_id
from tokentail.shared.log import Entry, Logs

FENCE = 1_763_881_234_567
OPENING = Entry(Cursor(FENCE, 0), events.encode(attempt()))
ENDING = Entry(Cursor(FENCE, 1), events.encode(completed()))


@pytest.fixture
async def plane(nodes: Nodes) -> AsyncIterator[Cluster]:
    async with Cluster(nodes.url) as made:
        yield made


async def open_log(logs: Logs, job_id: str) -> int | Entry:
    return await logs.open(job_id, OPENING.cursor, OPENING.raw, ttl_seconds=100)


async def end_log(logs: Logs, job_id: str) -> Entry | None:
    return await logs.append(job_id, ENDING.cursor, ENDING.raw, ttl_seconds=100)


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


# Nodes that are away


async def test_a_node_that_hangs_is_waited_for_in_bounded_time_and_the_others_go_on(
    new_nodes: Callable[..., Nodes],
) -> None:
    nodes = new_nodes()
    frozen, fine = nodes.primaries[:2]
    async with Cluster(nodes.url, connections=4, timeout_seconds=2.0) as plane:
        logs = Logs(plane)
        theirs, ours = nodes.job_at(frozen), nodes.job_at(fine)
        for job_id in (theirs, ours):
            await open_log(logs, job_id)

        async def refused_after() -> float:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await logs.last(theirs)
            return time.monotonic() - began

        # Given a node that takes connections and answers nothing, and some who wait for it
        frozen.freeze()
        waiting = [asyncio.create_task(refused_after()) for _ in range(4)]
        await asyncio.sleep(0)
        # When others talk to another node
        for _ in range(50):
            assert await logs.last(ours) == OPENING
        # Then they have not waited for it
        assert not any(task.done() for task in waiting)
        # And all who wait are told in time, also those who first had to wait for a connection
        await asyncio.wait(waiting, timeout=1.0)
        waiting += [asyncio.create_task(refused_after()) for _ in range(4)]
        assert max(await asyncio.gather(*waiting)) < 2.7
        frozen.resume()
        await eventually(lambda: _answers(logs, theirs))


async def test_a_node_that_dies_cuts_nobody_off_from_the_others(new_nodes: Callable[..., Nodes]) -> None:
    nodes = new_nodes()
    dead, fine = nodes.primaries[:2]
    async with Cluster(nodes.url) as plane:
        logs = Logs(plane)
        theirs, ours = nodes.job_at(dead), nodes.job_at(fine)
        await open_log(logs, theirs)
        await open_log(logs, ours)
        # Given something that waits on another node
        key = keys.log(ours)
        waiting = asyncio.create_task(plane.run(key, lambda redis: redis.xread({key: "$"}, block=1000)))
        await eventually(lambda: fine.client.info("clients")["blocked_clients"])
        # When a node dies, and some find out
        dead.kill()
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                await logs.last(theirs)
        # And many ask again and again
        asked = map_requests(fine)
        await asyncio.gather(*(logs.last(theirs) for _ in range(50)), return_exceptions=True)
        # Then the others are not kept busy by it
        assert map_requests(fine) - asked <= 2
        # And what goes on there goes on
        fine.client.xadd(key, {"e": ENDING.raw}, id=str(ENDING.cursor))
        assert await waiting
        # And the operator is told which node it is
        with pytest.raises(StoreUnavailable, match=f"^Node {dead.name} of the cluster: "):
            await plane.check()
        # And when the node is back, its logs are
        dead.start()
        await eventually(lambda: _answers(logs, theirs))
        assert await read(logs, theirs) == [OPENING]


def map_requests(node: Node) -> int:
    """How often a node was asked for the map of the slots."""
    stats = node.client.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name.startswith("cmdstat_cluster"))


async def test_a_replica_that_was_promoted_is_found(new_nodes: Callable[..., Nodes]) -> None:
    nodes = new_nodes(replicas=1)
    dead, (replica,) = nodes.primaries[0], nodes.replicas
    async with Cluster(nodes.url) as plane:
        logs = Logs(plane)
        job_id = nodes.job_at(dead)
        await open_log(logs, job_id)
        dead.client.execute_command("WAIT", 1, 5000)
        # When a primary dies and its replica takes its place
        dead.kill()
        # Then the log goes on there, with the same client
        await eventually(lambda: _answers(logs, job_id))
        assert await end_log(logs, job_id) is None
        assert replica.client.xlen(keys.log(job_id)) == 2


async def _answers(logs: Logs, job_id: str) -> bool:
    try:
        return await logs.last(job_id) is not None
    except StoreUnavailable:
        return False


# At start


async def test_a_whole_cluster_is_accepted(plane: Cluster) -> None:
    await plane.check()


async def test_a_node_that_evicts_keys_is_refused_by_name(nodes: Nodes, plane: Cluster) -> None:
    culprit = nodes.primaries[1]
    culprit.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigError, match=rf"^Node {culprit.name} of the cluster: .*is allkeys-lru"):
            await plane.check()
    finally:
        culprit.client.config_set("maxmemory-policy", "noeviction")


async def test_a_cluster_with_a_hole_is_said_to_have_one(nodes: Nodes, plane: Cluster) -> None:
    job_id = new_id()
    with nodes.orphaned(keys.log(job_id)) as slot:
        with pytest.raises(StoreUnavailable, match="Nobody holds 1 of the cluster's 16384 slots"):
            await plane.check()
        with pytest.raises(StoreUnavailable, match=f"No node of the cluster holds slot {slot}"):
            await Logs(plane).last(job_id)


async def test_a_server_that_is_no_cluster_is_refused(redis_url: str) -> None:
    address = redis_url.removeprefix("redis://").removesuffix("/0")
    async with Cluster(f"redis+cluster://{address}") as plane:
        with pytest.raises(
            ConfigError, match=rf"^Redis at {address} says: .*cluster support disabled\. Name one"
        ):
            await plane.check()


async def test_a_cluster_where_nobody_answers_is_away() -> None:
    async with Cluster("redis+cluster://127.0.0.1:1,127.0.0.1:2") as plane:
        for deed in (plane.check, lambda: Logs(plane).last(new_id())):
            with pytest.raises(StoreUnavailable):
                await deed()


async def test_the_urls_credentials_are_used_on_every_node(nodes: Nodes) -> None:
    password = "p@ss/w:rd"
    for node in nodes.all:
        node.client.execute_command("ACL", "SETUSER", "logs", "on", f">{password}", "~*", "+@all")
    authority = f"logs:p%40ss%2Fw%3Ard@{nodes.primaries[0].name}"
    async with Cluster(f"redis+cluster://{authority}") as plane:
        await plane.check()
        for node in nodes.primaries:
            job_id = nodes.job_at(node)
            key = keys.log(job_id)
            assert await plane.run(key, lambda redis: redis.execute_command("ACL", "WHOAMI")) == b"logs"
    async with Cluster(f"redis+cluster://logs:wrong@{nodes.primaries[0].name}") as plane:
        with pytest.raises(StoreUnavailable, match="credentials"):
            await plane.check()
