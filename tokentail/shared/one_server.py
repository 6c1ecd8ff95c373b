"""Logs on one server."""

from __future__ import annotations

from redis.asyncio import Connection, Redis

from tokentail.shared import redis as store
from tokentail.shared.data_plane import DataPlane, Deed, T
from tokentail.shared.errors import ConfigError
from tokentail.shared.slots import Redirection


class OneServer(DataPlane):
    """All logs on one server, or on whichever is the primary."""

    partitions = 1
    #: The name of the only node.
    NODE = ""

    def __init__(
        self,
        url: str,
        *,
        connections: int | None = None,
        timeout_seconds: float | None = store.SOCKET_TIMEOUT_SECONDS,
        client: Redis | None = None,
    ) -> None:
        self._url = url
        self._redis = client or store.client(url, connections=connections, timeout_seconds=timeout_seconds)

    def partition_of(self, job_id: str) -> int:
        """There is one."""
        return 0

    async def locate(self, key: str) -> str:
        """There is one."""
        return self.NODE

    async def run(self, key: str, deed: Deed[T]) -> T:
        """Do it, once. Raises StoreUnavailable."""
        with store.away_is_unavailable():
            return await deed(self._redis)

    def client(self, node: str) -> Redis:
        """The client of the server."""
        return self._redis

    async def primaries(self) -> list[Redis]:
        """The client of the server."""
        return [self._redis]

    def connection(self, node: str, *, protocol: int = 2) -> Connection:
        """A new connection to the server."""
        return store.pool(self._url, timeout_seconds=None, protocol=protocol).make_connection()  # type: ignore[no-any-return,no-untyped-call]

    def doubt(self, node: str) -> None:
        """There is no other; behind sentinels each new connection asks them."""

    def learn(self, redirection: Redirection) -> None:
        """A node of a cluster holds a part of the logs only. Raises ConfigError."""
        raise ConfigError("Redis is a node of a cluster; name that as redis+cluster://host:port,host:port.")

    async def check(self) -> None:
        """Raises ConfigError and StoreUnavailable."""
        await store.check(self._redis)

    async def aclose(self) -> None:
        """Close the client."""
        await self._redis.aclose()
