"""Where the logs live: on one server, or spread over the nodes of a cluster.

What both sides need to know of it is here: how a command finds the node of its log, and how a connection
of one's own is made there (an appender and a reader share theirs with nobody).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

from redis.asyncio import Connection, Redis

from tokentail.shared.slots import Redirection

T = TypeVar("T")

#: What is done with the client of a node.
Deed = Callable[[Redis], Awaitable[T]]


class DataPlane(ABC):
    """All logs of an installation. `node` is always a name that one of its methods gave out.

    `partitions` says how many readers a process needs for all logs together: one read can't join logs of
    different partitions.
    """

    partitions: int

    @abstractmethod
    def partition_of(self, job_id: str) -> int:
        """Which of its `partitions` the job's log is in."""

    @abstractmethod
    async def locate(self, key: str) -> str:
        """The node that holds a log, as far as is known; the node itself has the last word. Raises
        StoreUnavailable if nobody can be asked."""

    @abstractmethod
    async def run(self, key: str, deed: Deed[T]) -> T:
        """Do something with the client of the node that holds a log. It may be done twice, and each wait is
        bounded. Raises StoreUnavailable."""

    @abstractmethod
    def client(self, node: str) -> Redis:
        """The client of a node, for commands that are the node's own."""

    @abstractmethod
    async def primaries(self) -> list[Redis]:
        """The clients of all nodes that take writes, as far as is known. Raises StoreUnavailable."""

    @abstractmethod
    def connection(self, node: str, *, protocol: int = 2) -> Connection:
        """A new connection to a node, not connected yet, which belongs to the caller, who bounds each
        exchange; `protocol`: the version of Redis's."""

    @abstractmethod
    def doubt(self, node: str) -> None:
        """A node does not answer: another one may have taken its place by now."""

    @abstractmethod
    def learn(self, redirection: Redirection) -> None:
        """A node has told where a slot is."""

    @abstractmethod
    async def check(self) -> None:
        """Refuse servers that can't keep our promises. Raises ConfigError with one sentence, and
        StoreUnavailable when one does not answer."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close its clients; connections belong to whoever made them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
