"""What a balancer, Prometheus and an operator are told of a cluster that has lost a node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
from edge_within import edge_at
from given import eventually
from nodes import Nodes
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from tokentail.api.headroom import Headroom
from tokentail.api.servers import Servers
from tokentail.api.watch import Watch
from tokentail.shared import redis as store
from tokentail.shared.planes import data_plane
from tokentail.shared.settings import Settings


async def up(http: httpx.AsyncClient) -> dict[str, float]:
    """Which node is up."""
    families = text_string_to_metric_families((await http.get("/metrics")).text)
    samples = [sample for family in families for sample in family.samples]
    nodes = [sample for sample in samples if sample.name == "tokentail_redis_up"]
    return {sample.labels["node"]: sample.value for sample in nodes if sample.labels["plane"] == "log"}


async def test_a_node_that_is_away_is_named_and_the_others_go_on(
    redis_url: str, new_nodes: Callable[..., Nodes]
) -> None:
    # Given logs on three nodes, of which one dies
    nodes = await asyncio.to_thread(new_nodes)
    dead = nodes.primaries[1]
    settings = Settings(redis_url=redis_url, log_redis_url=nodes.url)
    async with edge_at(settings) as (http, _):
        assert (await http.get("/readyz")).json() == {"status": "ok"}
        dead.kill()
        # Then a balancer goes on sending requests, and whoever looks sees which node it is
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["away"]) == (200, [dead.name])
        # And so in the metrics
        assert await up(http) == {node.name: node is not dead for node in nodes.primaries}


async def test_a_node_whose_replica_takes_over_is_away_until_then(
    redis_url: str, new_nodes: Callable[..., Nodes]
) -> None:
    # Given logs on nodes of which one has a replica
    nodes = await asyncio.to_thread(new_nodes, replicas=1)
    dead, (replica,) = nodes.primaries[0], nodes.replicas
    settings = Settings(redis_url=redis_url, log_redis_url=nodes.url)
    async with store.client(redis_url) as redis, data_plane(nodes.url) as plane:
        watch = Watch(Servers(redis, plane, settings), Headroom())
        await watch.look()
        with capture_logs() as lines:
            # When it dies; Then it is told once, however often it is looked at, and that another one came
            dead.kill()

            async def told_of_both() -> bool:
                await watch.look()
                return len(lines) == 2

            await eventually(told_of_both, 60)
        assert [(line["event"], line["address"]) for line in lines] == [
            ("Redis is away", dead.name),
            ("another node has taken its place", dead.name),
        ]
        assert replica.client.info("replication")["role"] == "master"
