"""Who is met at the end of a connection."""

from __future__ import annotations

from redis.asyncio import Connection, Redis

from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable


async def port_met_by(redis: Redis) -> int:
    """Which server answers."""
    with store.away_is_unavailable():
        return int((await redis.config_get("port"))["port"])


async def is_answered(redis: Redis) -> bool:
    try:
        await port_met_by(redis)
    except StoreUnavailable:
        return False
    return True


async def connects(connection: Connection) -> bool:
    try:
        with store.away_is_unavailable():
            await connection.connect()
    except StoreUnavailable:
        return False
    return True
