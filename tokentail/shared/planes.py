"""The data plane that a URL names."""

from __future__ import annotations

from redis.asyncio import Redis

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
    shared: Redis | None = None,
) -> DataPlane:
    """Where the logs live by `url`. With `connections`, callers wait for one of that many per node;
    `timeout_seconds` is for each command. `shared` is a client of that very server, used also for this."""
    if shared is not None:
        return OneServer(url, client=shared)
    kind = Cluster if redis_url.is_cluster(url) else OneServer
    return kind(url, connections=connections, timeout_seconds=timeout_seconds)
