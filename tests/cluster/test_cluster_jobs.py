"""Whole installations whose logs are on a cluster: no job fails, no token is lost, whatever its nodes do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from given import eventually
from installation import Installation, Seen, Wire
from node import Node
from nodes import Nodes
from processes import REDIS_BINARY
from redis.crc import key_slot

from tokentail.shared import keys
from tokentail.stack.redis_server import RedisServer

#: The provider's scenarios under names that the tests use: the second lasts longer than what happens to it.
SCENARIOS = {"quick": "counted?tokens=20", "steady": "counted?tokens=300&pace_ms=30"}

#: Longer than any of the outages, so that nobody's job is taken for lost.
LEASE_SECONDS = "30"


@pytest.fixture(scope="module")
def breakable_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Three primaries, a replica of the first, a node without slots: mended after each test."""
    nodes = Nodes(tmp_path_factory.mktemp("breakable-cluster"), replicas=1, spare=1)
    try:
        yield nodes.start()
    finally:
        nodes.close()


@pytest.fixture(scope="module")
def installation(breakable_nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An API and two workers; the queue is on a server of its own."""
    server = RedisServer(tmp_path_factory.mktemp("queue"), port=0, binary=REDIS_BINARY).start()
    installation = Installation(
        server,
        SCENARIOS,
        TOKENTAIL_LOG_REDIS_URL=breakable_nodes.url,
        TOKENTAIL_LEASE_SECONDS=LEASE_SECONDS,
    )
    for _ in range(2):
        installation.start_worker()
    yield installation
    installation.close()
    server.kill()


@pytest.fixture
async def wire(installation: Installation) -> AsyncIterator[Wire]:
    client = Wire(installation.url, installation.provider_url)
    yield client
    await client.aclose()


class Audience:
    """Running generations, each with a follower that comes back with its cursor until the ending."""

    def __init__(self, wire: Wire, jobs: list[str]) -> None:
        self._wire = wire
        self._following = {job: asyncio.create_task(self._follow(job)) for job in jobs}
        self.seen = {job: Seen() for job in jobs}

    async def _follow(self, job: str) -> None:
        seen = self.seen[job]
        while not seen.endings:
            async for event in self._wire.events(job, seen.ids[-1] if seen.ids else None):
                seen.events.append(event)

    async def until_all_speak(self, words: int = 5) -> None:
        await self.until_more_from(list(self.seen), words)

    async def until_more_from(self, jobs: list[str], words: int = 5) -> None:
        """Wait until the followers of these jobs have heard so many words more."""
        before = {job: len(self.seen[job].events) for job in jobs}
        await eventually(lambda: all(len(self.seen[job].events) >= before[job] + words for job in jobs), 30)

    async def all_saw_everything(self) -> None:
        """Wait for the endings; all completed in one attempt, and seen once and in order."""
        await asyncio.gather(*self._following.values())
        for job_id, seen in self.seen.items():
            job = await self._wire.ended(job_id)
            assert (job["status"], job["attempt"]) == ("completed", 1), job
            assert seen.text == job["result"]["content"]
            seqs = [int(str(event_id).split("-")[1]) for event_id in seen.ids]
            assert seqs == list(range(len(seqs))), "an entry was lost or repeated"
            # And who comes late sees the same.
            assert (await self._wire.follow(job_id)).events == seen.events


async def audience(wire: Wire, nodes: list[Node]) -> Audience:
    """Some thirty generations that run and are followed, on all of these nodes."""
    jobs: list[str] = []
    while len(jobs) < 24 or any(not _held(node, jobs) for node in nodes):
        jobs.append(await wire.submit("steady"))
    made = Audience(wire, jobs)
    await made.until_all_speak()
    return made


def _held(node: Node, jobs: list[str]) -> list[str]:
    """Those of the jobs whose logs are on a node."""
    return [job for job in jobs if node.client.execute_command("CLUSTER", "COUNTKEYSINSLOT", _slot(job))]


def _slot(job: str) -> int:
    return int(key_slot(keys.log(job).encode()))


async def test_a_quick_job_runs_as_on_one_server(wire: Wire, breakable_nodes: Nodes) -> None:
    job_id = await wire.submit("quick")
    seen = await wire.follow(job_id)
    assert (seen.types[0], seen.endings) == ("attempt", ["completed"])
    assert seen.text == (await wire.ended(job_id))["result"]["content"]
    # And the log is on the cluster
    assert len(breakable_nodes.entries(keys.log(job_id))) == len(seen.events)
    assert await wire.is_ready()


async def test_slots_move_under_load_and_nobody_notices(wire: Wire, breakable_nodes: Nodes) -> None:
    nodes = breakable_nodes
    crowd = await audience(wire, nodes.primaries)
    # Given one slot that goes to another node and one that goes to a new one, step by step
    one, two = (_held(node, list(crowd.seen))[0] for node in nodes.primaries[:2])
    with (
        nodes.on_its_way(keys.log(one), nodes.primaries[2]) as move,
        nodes.on_its_way(keys.log(two), nodes.spare[0]) as other,
    ):
        for step in (move.begin, other.begin, move.carry, other.carry, move.finish, other.finish):
            await asyncio.to_thread(step)
            # When all go on between the steps; Then everybody hears of it
            await crowd.until_all_speak(3)
    # And on the way back, too
    await crowd.all_saw_everything()
    nodes.free_the_spare()


async def test_a_node_crashes_and_comes_back(wire: Wire, breakable_nodes: Nodes) -> None:
    nodes = breakable_nodes
    # Given generations on all nodes, one of which crashes and has no replica
    crowd = await audience(wire, nodes.primaries)
    dead = nodes.primaries[1]
    theirs = _held(dead, list(crowd.seen))
    dead.kill()
    # When the others go on; Then their followers hear every word
    await crowd.until_more_from([job for job in crowd.seen if job not in theirs], 20)
    # And the operator is told which node it is, while the API stays in service for the others
    await eventually(lambda: _are_away(wire, [dead.name]))
    # And when it is back, nothing is missing
    dead.start()
    await crowd.all_saw_everything()
    await asyncio.to_thread(nodes.until_well)
    await eventually(lambda: _are_away(wire, []))


async def test_a_replica_takes_over_that_did_not_get_all_of_it(wire: Wire, breakable_nodes: Nodes) -> None:
    nodes = breakable_nodes
    primary, (replica,) = nodes.primaries[0], nodes.replicas
    # Given generations on all nodes, and a replica that misses what comes
    crowd = await audience(wire, nodes.primaries)
    theirs = _held(primary, list(crowd.seen))
    await asyncio.to_thread(nodes.cut_off, replica, primary)
    await crowd.until_more_from(theirs, 5)
    # When it takes its primary's place
    primary.kill()
    await eventually(lambda: replica.client.info("replication")["role"] == "master", 30)
    # Then what it did not get is written again, all go on there, and no follower sees a word twice
    await crowd.until_all_speak()
    await crowd.all_saw_everything()
    assert [job for job in theirs if replica.client.exists(keys.log(job))] == theirs


async def _are_away(wire: Wire, nodes: list[str]) -> bool:
    answer = await wire.http.get("/readyz")
    assert answer.status_code == 200, answer.text
    return answer.json().get("away", []) == nodes
