"""What is looked at before anything runs: the whole cluster, and that it is one."""

from __future__ import annotations

import pytest
from nodes import Nodes

from tokentail.shared import keys
from tokentail.shared.cluster import Cluster
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs
from tokentail.shared.one_server import OneServer


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


async def test_one_node_is_refused_as_a_server_of_its_own(nodes: Nodes) -> None:
    async with Cluster(nodes.url) as cluster:
        await cluster.check()
    hosts = nodes.url.removeprefix("redis+cluster://").split(",")
    async with OneServer(f"redis://{hosts[0]}") as server:
        with pytest.raises(ConfigError, match=r"redis\+cluster://"):
            await server.check()
