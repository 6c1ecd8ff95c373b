"""How we talk to Redis: clients with bounds, scripts from files, and one error for "it is away"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 -- the driver's own name for it
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,  # noqa: A004
)

from tokentail.shared.errors import StoreUnavailable

#: A Redis that answers no command for this long is away. Above every blocking read that we send.
SOCKET_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 2.0
#: A block this long lets a dead connection be noticed and a missed wake-up heal.
BLOCK_SECONDS = 1.0

# A replica that was a primary a moment ago, one that loads its data or one that is full can't store
# anything now, but may in a moment: for the caller that is the same as being away.
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError, OSError)


def pool(
    url: str, *, connections: int | None = None, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS
) -> ConnectionPool:
    """A pool for `url`; with `connections`, callers wait for one of that many instead of opening more.

    No command is ever repeated by the driver: after a lost reply only the caller knows whether a repeat
    is harmless.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "health_check_interval": 0,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    if connections is None:
        return ConnectionPool.from_url(url, **options)
    return BlockingConnectionPool.from_url(
        url, max_connections=connections, timeout=timeout_seconds, **options
    )


def client(
    url: str, *, connections: int | None = None, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS
) -> Redis:
    """A client with a pool of its own, which it closes with itself."""
    return Redis.from_pool(pool(url, connections=connections, timeout_seconds=timeout_seconds))


def script(redis: Redis, name: str) -> AsyncScript:
    """The script `lua/<name>.lua`, sent by its hash."""
    text = resources.files("tokentail.shared").joinpath(f"lua/{name}.lua").read_text()
    return redis.register_script(text)


@contextmanager
def away_is_unavailable() -> Iterator[None]:
    """Turn the driver's ways to say that Redis is away into StoreUnavailable."""
    try:
        yield
    except AuthenticationError:
        # A ConnectionError by inheritance, but waiting won't mend it.
        raise
    except _AWAY as error:
        raise StoreUnavailable("Redis does not answer; try again in a moment.") from error
