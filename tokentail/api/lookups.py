"""Records asked for by many clients at the same moment, and read once."""

from __future__ import annotations

import asyncio

from tokentail.shared import endings
from tokentail.shared.job import Record
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue


class Lookups:
    """A thousand clients that come back to one job cost Redis one look at its record."""

    def __init__(self, queue: Queue, logs: Logs) -> None:
        self._queue = queue
        self._logs = logs
        self._under_way: dict[tuple[str, str], asyncio.Task[Record]] = {}

    async def record(self, tenant: str, job_id: str) -> Record:
        """A job's record, whose log has been told of its ending. Raises JobNotFound and StoreUnavailable."""
        key = (tenant, job_id)
        look = self._under_way.get(key)
        if look is None:
            look = self._under_way[key] = asyncio.create_task(self._look(tenant, job_id))
            look.add_done_callback(lambda done: self._done(key, done))
        # Whoever leaves must not take the answer from the others.
        return await asyncio.shield(look)

    async def _look(self, tenant: str, job_id: str) -> Record:
        return await endings.settled(self._queue, self._logs, await self._queue.get(tenant, job_id))

    def _done(self, key: tuple[str, str], look: asyncio.Task[Record]) -> None:
        del self._under_way[key]
        if not look.cancelled():
            look.exception()  # Everybody who asked may have left.
