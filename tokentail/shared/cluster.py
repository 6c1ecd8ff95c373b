"""Logs on a cluster: which node to talk to, and what to do when a node says that it is another one.

The driver has a client for clusters, too. This one exists because logs need less and something else: a
node that is away must not disturb what goes on with the others (the driver's closes all connections when one
fails); ASKING has to reach a node over the connection that the command takes (the driver's may take another
one, and does not find a node that holds no slot yet); nothing is repeated that we don't know to be harmless;
and appenders and readers need connections of their own.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any
from urllib.parse import quote, urlencode

from redis.asyncio import Connection, Redis
from redis.asyncio.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import ResponseError

from tokentail.shared import keys, redis_url
from tokentail.shared import redis as store
from tokentail.shared.data_plane import DataPlane, Deed, T
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.slots import SLOTS, Redirection, SlotMap, redirection

#: A node tells its map of the slots from memory; one that takes longer is frozen, and another is asked.
ASK_SECONDS = 0.5

#: A map is good for this long. While a node is away everybody asks all the time, and until another one has
#: taken its place (seconds) the answer does not change.
FRESH_SECONDS = 0.1

#: A slot that moves costs one redirection, one that moves as we look costs two. More means that nodes
#: disagree, which passes.
REDIRECTIONS = 5

_DISAGREE = "The nodes of the cluster do not agree on who holds a log; try again in a moment."


class Cluster(DataPlane):
    """The logs of all partitions, each on the node that holds its slot."""

    partitions = len(keys.LOG_TAGS)

    def __init__(
        self,
        url: str,
        *,
        connections: int | None = None,
        timeout_seconds: float | None = store.SOCKET_TIMEOUT_SECONDS,
    ) -> None:
        self._hosts = redis_url.parse_cluster(url)
        self._seeds = [str(address) for address in self._hosts.addresses]
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._clients: dict[str, Redis] = {}
        self._map = SlotMap()
        #: Nodes that did not answer, or that lost a slot, since the map was made.
        self._doubted: set[str] = set()
        self._refreshing = asyncio.Lock()
        self._refreshed_at = float("-inf")
        self._nowhere: StoreUnavailable | None = None

    def partition_of(self, job_id: str) -> int:
        """The partition that is the log's tag."""
        return keys.log_partition(job_id)

    async def locate(self, key: str) -> str:
        """The node that holds a log. Raises StoreUnavailable."""
        slot = key_slot(key.encode())
        node = self._map.owner(slot)
        if node is None or node in self._doubted:
            await self._refresh()
            node = self._map.owner(slot)
        if node is None:
            raise StoreUnavailable(f"No node of the cluster holds slot {slot}; try again in a moment.")
        return node

    async def run(self, key: str, deed: Deed[T]) -> T:
        """Do it on the node that holds a log, however often that turns out to be another one. Raises
        StoreUnavailable."""
        with store.away_is_unavailable():
            async with asyncio.timeout(self._timeout_seconds):
                return await self._run(key, deed)

    async def _run(self, key: str, deed: Deed[T]) -> T:
        node = await self.locate(key)
        client = self.client(node)
        for _ in range(REDIRECTIONS):
            try:
                with store.away_is_unavailable():
                    return await deed(client)
            except ResponseError as refusal:
                led = redirection(refusal, node)
                if led is None:
                    raise
            except (StoreUnavailable, asyncio.CancelledError):
                self.doubt(node)
                raise
            self.learn(led)
            node = led.node
            client = self.client(node)
            if led.asking:
                client = _Asking(connection_pool=client.connection_pool)
        raise StoreUnavailable(_DISAGREE)

    def client(self, node: str) -> Redis:
        """The client of a node; with a bounded number of connections, if so asked for."""
        if node not in self._clients:
            self._clients[node] = store.client(
                self._url_of(node), connections=self._connections, timeout_seconds=self._timeout_seconds
            )
        return self._clients[node]

    async def primaries(self) -> list[Redis]:
        """The clients of the nodes that hold slots. Raises StoreUnavailable."""
        if not self._map.primaries:
            await self._refresh()
        return [self.client(node) for node in sorted(self._map.primaries)]

    def connection(self, node: str, *, protocol: int = 2) -> Connection:
        """A new connection to a node."""
        pool = store.pool(self._url_of(node), timeout_seconds=None, protocol=protocol)
        return pool.make_connection()  # type: ignore[no-any-return,no-untyped-call]

    def _url_of(self, node: str) -> str:
        hosts = self._hosts
        credentials = ""
        if hosts.username or hosts.password:
            credentials = f"{quote(hosts.username or '', safe='')}:{quote(hosts.password or '', safe='')}@"
        options = f"?{urlencode(hosts.tls_options)}" if hosts.tls_options else ""
        return f"{'rediss' if hosts.is_tls else 'redis'}://{credentials}{node}/0{options}"

    def doubt(self, node: str) -> None:
        """Look at a new map before this node is asked for the next time."""
        self._doubted.add(node)

    def learn(self, redirection: Redirection) -> None:
        """Correct the map. A slot that is only on its way stays where it is."""
        if redirection.asking:
            return
        loser = self._map.owner(redirection.slot)
        if loser is not None and loser != redirection.node:
            self._doubted.add(loser)  # Rarely does one slot move alone.
        self._map.move(redirection.slot, redirection.node)
        self._doubted.discard(redirection.node)

    async def check(self) -> None:
        """Look at all nodes: the primaries must answer, their replicas may be away. Raises ConfigError and
        StoreUnavailable, and names the node."""
        try:
            await self._refresh()
        except _NoCluster as error:
            raise ConfigError(f"{error} Name one server as redis://host:port.") from None
        if self._map.uncovered:
            raise StoreUnavailable(f"Nobody holds {self._map.uncovered} of the cluster's {SLOTS} slots.")
        for node in sorted(self._map.primaries | self._map.replicas):
            try:
                await store.check(self.client(node), of_cluster=True)
            except ConfigError as error:
                raise ConfigError(f"Node {node} of the cluster: {error}") from None
            except StoreUnavailable as error:
                self.doubt(node)
                if node in self._map.primaries:
                    raise StoreUnavailable(f"Node {node} of the cluster: {error}") from error

    async def aclose(self) -> None:
        """Close the clients of all nodes."""
        for client in self._clients.values():
            await client.aclose()

    # The map

    async def _refresh(self) -> None:
        """Ask for a new map, unless one has just been asked for. Raises StoreUnavailable."""
        async with self._refreshing:
            if asyncio.get_running_loop().time() - self._refreshed_at > FRESH_SECONDS:
                try:
                    self._map, self._nowhere = await self._ask_around(), None
                    self._doubted.clear()
                    await self._forget_clients()
                except StoreUnavailable as error:
                    self._nowhere = error
                self._refreshed_at = asyncio.get_running_loop().time()
        if self._nowhere is not None:
            raise type(self._nowhere)(*self._nowhere.args)

    async def _ask_around(self) -> SlotMap:
        # In no fixed order: a node that was cut off from the others tells an old map, and if it were always
        # asked first nobody would ever hear of a new one.
        known = list({*self._seeds, *self._map.primaries, *self._map.replicas})
        random.shuffle(known)
        reasons: list[StoreUnavailable] = []
        for node in sorted(known, key=self._doubted.__contains__):
            try:
                with store.away_is_unavailable():
                    async with asyncio.timeout(ASK_SECONDS):
                        answer = await self.client(node).execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
                return SlotMap.parse(answer, node)
            except StoreUnavailable as error:
                reasons.append(error)
            except ResponseError as refusal:
                kind = _NoCluster if "cluster support disabled" in str(refusal) else StoreUnavailable
                reasons.append(kind(f"Redis at {node} says: {str(refusal).rstrip('.')}."))
        raise reasons[-1]

    async def _forget_clients(self) -> None:
        for node in self._clients.keys() - {*self._seeds, *self._map.primaries, *self._map.replicas}:
            await self._clients.pop(node).aclose()


class _NoCluster(StoreUnavailable):
    """A server that was named as a node of a cluster is none."""


class _Asking(Redis):
    """A client of a node that is just taking over a slot, for commands of that slot: each goes behind an
    ASKING, over the same connection."""

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        """Run one command."""
        pipe = self.pipeline(transaction=False)
        pipe.execute_command(*words, **options)
        (answer,) = await pipe.execute(raise_on_error=False)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, transaction: bool = False, shard_hint: str | None = None) -> Pipeline:
        """Run several."""
        return _AskingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _AskingPipeline(Pipeline):
    def pipeline_execute_command(self, *words: Any, **options: Any) -> Any:
        super().pipeline_execute_command("ASKING")  # type: ignore[no-untyped-call]
        return super().pipeline_execute_command(*words, **options)  # type: ignore[no-untyped-call]

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        return (await super().execute(raise_on_error))[1::2]
