"""No node holds up the others: commands wait for the one that is away in bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from given import eventually, read
from node import Node
from nodes import Nodes
from short_logs import ENDING, OPENING, end_log, open_log

from tokentail.shared import keys
from tokentail.shared.cluster import Cluster
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs


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
