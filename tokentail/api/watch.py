"""The look that an API process takes at its servers: whether they are there, and have room."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from tokentail.api.headroom import Headroom
from tokentail.api.outages import Outages
from tokentail.api.servers import Server, Servers
from tokentail.shared import redis as store

#: How often. Memory grows by what workers write, which fills no tenth of it in a second.
LOOK_SECONDS = 1.0

#: As long as a client's request waits for Redis.
ANSWER_SECONDS = 2.0


class Watch:
    """`run` it as a task."""

    def __init__(self, servers: Servers, headroom: Headroom) -> None:
        self._servers = servers
        self._headroom = headroom
        self._outages = Outages()

    async def run(self) -> None:
        """Look for ever; ends by cancellation."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask every server once."""
        answers = await self._servers.ask(_memory, timeout_seconds=ANSWER_SECONDS)
        self._outages.hear(answers)
        self._headroom.hear(answers)


async def _memory(server: Server, redis: Redis) -> dict[str, Any]:
    return await store.memory(redis)
