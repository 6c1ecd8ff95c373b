"""Whether Redis has room for more jobs: new ones are refused before those that run are in danger."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tokentail.shared import redis as store
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.errors import NoRoom, StoreUnavailable

logger = structlog.get_logger()

#: How often Redis is asked. Memory grows by what workers write, which fills no tenth of it in a second.
LOOK_SECONDS = 1.0


class Headroom:
    """`run` it as a task."""

    def __init__(self, redis: Redis, plane: DataPlane) -> None:
        self._redis = redis
        self._plane = plane
        #: Why no job may be accepted now.
        self.refusal: str | None = None
        self._is_blind = False

    def check(self) -> None:
        """Raises NoRoom if no job may be accepted now."""
        if self.refusal is not None:
            raise NoRoom(self.refusal)

    async def run(self) -> None:
        """Look for ever; ends by cancellation."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask every server once."""
        try:
            servers = [self._redis, *await self._plane.primaries()]
        except StoreUnavailable:
            return  # A Redis that does not answer takes no jobs anyway.
        refusals = [await self._refusal_of(redis) for redis in servers]
        refusal = next(filter(None, refusals), None)
        if refusal != self.refusal:
            logger.warning("jobs are refused" if refusal else "jobs are accepted again", reason=refusal)
        self.refusal = refusal

    async def _refusal_of(self, redis: Redis) -> str | None:
        try:
            return _refusal(await store.memory(redis))
        except StoreUnavailable:
            return None  # It refuses jobs by itself, as long as it is away.
        except ResponseError as error:
            # A user who may not ask: then nobody can tell.
            if not self._is_blind:
                self._is_blind = True
                logger.warning("how full Redis is can't be known", reason=str(error))
            return None


def _refusal(memory: dict[str, Any]) -> str | None:
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return f"Redis evicts keys (maxmemory-policy is {policy}), which would lose jobs."
    used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    if most and used >= most * store.FULL_SHARE:
        return "Redis is nearly out of memory; try again later."
    return None
