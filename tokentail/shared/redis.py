"""How we talk to Redis: clients with bounds, scripts from files, and one error for "it is away"."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 -- the driver's own name for it
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from tokentail.shared import redis_url
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.opinion import NoPrimary, UnknownPrimary
from tokentail.shared.primary import PrimaryConnection, TlsPrimaryConnection
from tokentail.shared.redis_url import SentinelUrl
from tokentail.shared.sentinel import Sentinels

_T = TypeVar("_T")

#: A Redis that answers no command for this long is away. Above every blocking read that we send.
SOCKET_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 2.0
#: A block this long lets a dead connection be noticed and a missed wake-up heal.
BLOCK_SECONDS = 1.0

#: First and longest pause before asking a Redis again that was away: short enough that nobody notices a
#: restart by us, long enough that a fleet of workers does not hammer one that is starting.
AWAY_SECONDS = 0.05
AWAY_LIMIT_SECONDS = 1.0

# A replica that was a primary a moment ago, one that loads its data or one that is full can't store
# anything now, but may in a moment: for the caller that is the same as being away. UNBLOCKED is what a
# blocking read is told by a primary that becomes a replica. Redis 6.2 puts a sentence before a script's
# error, the driver before a pipeline's, and brackets around it.
_CANT_NOW = re.compile(
    r"(?:Command # \d+ .* of pipeline caused error: (?:\(['\"])?)?(?:Error running script .*: -)?"
    r"(?:MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|OOM|READONLY|UNBLOCKED|BUSY) ",
    re.DOTALL,
)
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError, OSError)

_SENTENCE = "Redis does not answer; try again in a moment."


def pool(
    url: str,
    *,
    connections: int | None = None,
    timeout_seconds: float | None = SOCKET_TIMEOUT_SECONDS,
    protocol: int = 2,
) -> ConnectionPool:
    """A pool for `url`; with `connections`, callers wait for one of that many instead of opening more.

    Behind sentinels each new connection leads to whoever is the primary then, also one that the caller
    makes for itself (`make_connection`).

    No command is ever repeated by the driver: after a lost reply only the caller knows whether a repeat
    is harmless. `timeout_seconds=None`: its user bounds each exchange as a whole. `protocol`: the version of
    Redis's that it speaks.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "health_check_interval": 0,
        "protocol": protocol,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    kind: type[ConnectionPool] = ConnectionPool
    if connections is not None:
        kind = BlockingConnectionPool
        options |= {"max_connections": connections, "timeout": timeout_seconds}
    if redis_url.is_sentinel(url):
        return kind(**options, **_to_primary(redis_url.parse_sentinel(url)))
    return kind.from_url(url, **options)


def _to_primary(url: SentinelUrl) -> dict[str, Any]:
    return {
        "connection_class": TlsPrimaryConnection if url.hosts.is_tls else PrimaryConnection,
        "sentinels": Sentinels(url),
        "db": url.database,
        "username": url.hosts.username,
        "password": url.hosts.password,
        **url.hosts.tls_options,
    }


def client(
    url: str, *, connections: int | None = None, timeout_seconds: float | None = SOCKET_TIMEOUT_SECONDS
) -> Redis:
    """A client with a pool of its own, which it closes with itself."""
    return Redis.from_pool(pool(url, connections=connections, timeout_seconds=timeout_seconds))


def script(redis: Redis, *names: str) -> AsyncScript:
    """The script `lua/<name>.lua`, or what several such files make one after the other, sent by its hash."""
    return redis.register_script(script_text(*names))


@cache
def script_text(*names: str) -> str:
    """What these files of `lua/` make, one after the other."""
    folder = resources.files("tokentail.shared") / "lua"
    return "\n".join((folder / f"{name}.lua").read_text() for name in names)


@contextmanager
def away_is_unavailable() -> Iterator[None]:
    """Turn the driver's ways to say that Redis is away into StoreUnavailable."""
    try:
        yield
    except AuthenticationError as error:
        raise StoreUnavailable("Redis refuses the credentials in its URL.") from error
    except NoPrimary as error:
        raise StoreUnavailable(f"{error} Try again in a moment.") from error
    except _AWAY as error:
        raise StoreUnavailable(_SENTENCE) from error
    except RuntimeError as error:
        # uvloop's way to say that a connection was closed between two sends; the driver knows asyncio's only.
        if "handler is closed" not in str(error):
            raise
        raise StoreUnavailable(_SENTENCE) from error
    except AttributeError as error:
        # The driver's way to say that it was ended, by whoever watches the sentinels, before it could send.
        if "writelines" not in str(error):
            raise
        raise StoreUnavailable(_SENTENCE) from error
    except ResponseError as error:
        if _CANT_NOW.match(str(error)):
            raise StoreUnavailable(_SENTENCE) from error
        raise


class Pauses:
    """Between tries to reach a Redis that is away: short at first, then longer."""

    def __init__(self) -> None:
        self.next_seconds = AWAY_SECONDS

    async def sleep(self) -> None:
        """Wait before the next try."""
        seconds, self.next_seconds = self.next_seconds, min(self.next_seconds * 2, AWAY_LIMIT_SECONDS)
        await asyncio.sleep(seconds)

    def over(self) -> None:
        """It answered."""
        self.next_seconds = AWAY_SECONDS


async def until_available(deed: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat a harmless deed until Redis answers."""
    pauses = Pauses()
    while True:
        try:
            return await deed()
        except StoreUnavailable:
            await pauses.sleep()


#: Share of `maxmemory` from which on no job is accepted. The rest is for those that run: a job takes some
#: 5 KB and 45 B per token, so a tenth of a gigabyte is room for two million tokens.
FULL_SHARE = 0.9


async def memory(redis: Redis) -> dict[str, Any]:
    """What INFO says of a server's memory. Raises StoreUnavailable."""
    with away_is_unavailable():
        return await redis.info("memory")  # type: ignore[no-any-return]


#: XREAD and XADD as we use them (NOMKSTREAM, exclusive ranges) came with 6.2.
OLDEST_VERSION = (6, 2)


async def check(redis: Redis, *, of_cluster: bool = False) -> None:
    """Refuse a server that can't keep our promises. Raises ConfigError with one sentence, and
    StoreUnavailable when it does not answer."""
    try:
        with away_is_unavailable():
            info = await redis.info()
    except StoreUnavailable as error:
        if isinstance(error.__cause__, UnknownPrimary):
            raise ConfigError(str(error.__cause__)) from None
        raise
    except ResponseError as error:
        # A database that it does not have, or a user who may not ask.
        raise ConfigError(f"Redis can't be used: {str(error).rstrip('.')}.") from None
    if int(info.get("cluster_enabled", 0)) and not of_cluster:
        raise ConfigError("Redis is a node of a cluster; name that as redis+cluster://host:port,host:port.")
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        raise ConfigError(f"Redis {version} is too old; tokentail needs 6.2 or later.")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        raise ConfigError(
            f"Redis evicts keys (maxmemory-policy is {policy}), which would lose jobs; set it to noeviction."
        )
