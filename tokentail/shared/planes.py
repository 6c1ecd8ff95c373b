"""The data plane that a URL names."""

from __future__ import annotations

from tokentail.shared import redis as store
from tokentail.shared import redis_url
from tokentail.shared.cluster import Cluster
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.one_server import OneServer


def data_plane(
    url: str,
    *,
    connections: int | None = None,
    timeout_seconds: float | None = store.SOCKET_TIMEOUT_SECONDS,
) -> DataPlane:
    """Where the logs live by `url`. With `connections`, callers wait for one of that many per node;
    `timeout_seconds` is for each command."""
    kind = Cluster if redis_url.is_cluster(url) else OneServer
    return kind(url, connections=connections, timeout_seconds=timeout_seconds)
