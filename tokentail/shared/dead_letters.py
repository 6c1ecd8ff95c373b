"""Dead letters: jobs that were ended because they kept killing their workers, kept for somebody to look at.

For operators, across all tenants. Every method raises StoreUnavailable when Redis is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.errors import JobNotFound
from tokentail.shared.job import Record
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that kept killing its workers, with the request that did it."""

    record: Record
    request: dict[str, Any] | None


class DeadLetters:
    """All dead letters of one installation."""

    def __init__(self, redis: Redis, queue: Queue, logs: Logs) -> None:
        self._redis = redis
        self._queue = queue
        self._logs = logs

    async def list(self, limit: int) -> list[Record]:
        """The newest ones, newest first. Forgets those whose records have expired."""
        found: list[Record] = []
        with store.away_is_unavailable():
            ids = await self._redis.zrevrange(keys.DEAD, 0, -1)
        for raw in ids:
            if len(found) == limit:
                break
            record = await self._queue.record(raw.decode())
            if record is not None:
                found.append(record)
            else:
                await self._forget(raw.decode())
        return found

    async def get(self, job_id: str) -> DeadLetter:
        """One dead letter. Raises JobNotFound."""
        with store.away_is_unavailable():
            listed = await self._redis.zscore(keys.DEAD, job_id)
            request = await self._redis.get(keys.request(job_id))
        record = await self._queue.record(job_id) if listed is not None else None
        if record is None:
            raise JobNotFound(f"There is no dead letter {job_id!r}.")
        return DeadLetter(record, orjson.loads(request) if request else None)

    async def replay(self, job_id: str) -> Record:
        """Submit its request once more, as a new job of its tenant, and take the letter off the list.

        The dead job stays as it ended. Saying it again after an error makes no second job. Raises
        JobNotFound, also when the request is gone, and QueueFull.
        """
        letter = await self.get(job_id)
        if letter.request is None:
            raise JobNotFound(f"The request of {job_id!r} is gone.")
        record = letter.record
        # No client can send a key with a blank in it.
        key = f"replay {job_id}"
        replayed, _ = await self._queue.enqueue_again(
            record.tenant, record.model, letter.request, record.metadata, key
        )
        await self._forget(job_id)
        return replayed

    async def purge(self, job_id: str) -> None:
        """Delete the job with all that is stored of it. Raises JobNotFound."""
        letter = await self.get(job_id)
        await self._logs.delete(job_id)  # First: without the record nobody finds it any more.
        await self._queue.delete(letter.record.tenant, job_id)

    async def _forget(self, job_id: str) -> None:
        with store.away_is_unavailable():
            await self._redis.zrem(keys.DEAD, job_id)
