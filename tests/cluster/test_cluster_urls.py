"""A node of a cluster is no place for all logs."""

from __future__ import annotations

import pytest
from nodes import Nodes

from tokentail.shared.cluster import Cluster
from tokentail.shared.errors import ConfigError
from tokentail.shared.one_server import OneServer


async def test_one_node_is_refused_as_a_server_of_its_own(nodes: Nodes) -> None:
    async with Cluster(nodes.url) as cluster:
        await cluster.check()
    hosts = nodes.url.removeprefix("redis+cluster://").split(",")
    async with OneServer(f"redis://{hosts[0]}") as server:
        with pytest.raises(ConfigError, match=r"redis\+cluster://"):
            await server.check()
