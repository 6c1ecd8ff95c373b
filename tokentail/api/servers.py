"""The servers of both planes, as an API process talks to them: their names, and asking all at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tokentail.shared import redis as store
from tokentail.shared import redis_url
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.redis_url import Address
from tokentail.shared.settings import Settings

T = TypeVar("T")

CONTROL, LOG = "control", "log"

#: A cluster of which a node was away is looked at anew before it is asked again. That takes a trip to each
#: node; a frozen one must not hold the others up for longer.
NEW_MAP_SECONDS = 1.0


@dataclass(frozen=True)
class Server:
    """One server, or whichever is the primary behind sentinels. `address` holds no password.

    `planes` are both where both live there; `node` is its name in a cluster, else empty.
    """

    planes: tuple[str, ...]
    address: str
    node: str = ""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a server answered, or why there is no answer: it is away, can't be used, or refuses to say."""

    server: Server
    value: T | None = None
    error: StoreUnavailable | ConfigError | ResponseError | None = None

    @property
    def is_away(self) -> bool:
        """Whether the server does not answer just now."""
        return isinstance(self.error, StoreUnavailable)


#: What a server is asked. It raises StoreUnavailable, ConfigError or ResponseError.
Question = Callable[[Server, Redis], Awaitable[T]]


class Servers:
    """Both planes of an installation."""

    def __init__(self, redis: Redis, plane: DataPlane, settings: Settings) -> None:
        self._redis = redis
        self._plane = plane
        self._log_url = settings.log_url
        self._is_one = settings.log_url == settings.redis_url
        self._is_cluster = redis_url.is_cluster(settings.log_url)
        planes = (CONTROL, LOG) if self._is_one else (CONTROL,)
        self._control = Server(planes, redis_url.without_password(settings.redis_url))
        self._was_node_away = False

    async def ask(self, question: Question[T], *, timeout_seconds: float) -> list[Answer[T]]:
        """The answers of all, the control plane's first; each has this long, and none waits for another."""
        logs = self._ask_logs(question, timeout_seconds)
        first, others = await asyncio.gather(
            _ask(self._control, self._redis, question, timeout_seconds), logs
        )
        return [first, *others]

    async def _ask_logs(self, question: Question[T], timeout_seconds: float) -> list[Answer[T]]:
        if self._is_one:
            return []
        if self._was_node_away:
            with contextlib.suppress(StoreUnavailable, ConfigError, TimeoutError):
                async with asyncio.timeout(min(NEW_MAP_SECONDS, timeout_seconds)):
                    await self._plane.check()
        try:
            with store.away_is_unavailable():
                async with asyncio.timeout(timeout_seconds):
                    clients = await self._plane.primaries()
        except StoreUnavailable as error:
            return [Answer(self._server(), error=error)]
        answers = await asyncio.gather(
            *(_ask(self._server(client), client, question, timeout_seconds) for client in clients)
        )
        self._was_node_away = self._is_cluster and any(answer.is_away for answer in answers)
        return answers

    def _server(self, client: Redis | None = None) -> Server:
        """The data plane's, or the node of it that a client leads to."""
        if client is None or not self._is_cluster:
            return Server((LOG,), redis_url.without_password(self._log_url))
        options = client.connection_pool.connection_kwargs
        node = str(Address(options["host"], options["port"]))
        return Server((LOG,), node, node)


async def _ask(server: Server, redis: Redis, question: Question[T], timeout_seconds: float) -> Answer[T]:
    try:
        with store.away_is_unavailable():
            async with asyncio.timeout(timeout_seconds):
                return Answer(server, await question(server, redis))
    except (StoreUnavailable, ConfigError, ResponseError) as error:
        return Answer(server, error=error)


async def ping(server: Server, redis: Redis) -> None:
    """The question whether it is there at all."""
    await redis.ping()


async def check(server: Server, redis: Redis) -> None:
    """The question whether it can be used for what it is to hold."""
    await store.check(redis, of_cluster=bool(server.node))
