"""The records of the jobs, for reading."""

from __future__ import annotations

from collections.abc import AsyncIterator

from redis.asyncio import Redis

from tokentail.shared import job, keys
from tokentail.shared import redis as store
from tokentail.shared.errors import JobNotFound
from tokentail.shared.job import Record

#: How many records a listing looks at per round trip, and per call: a filter that matches nothing must
#: not walk a day of jobs in one request.
_LIST_PAGE = 100
_LIST_SCAN = 1000


class Records:
    """What is known of the jobs of one installation.

    Every method raises StoreUnavailable when Redis is away.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, tenant: str, job_id: str) -> Record:
        """A job's record. Raises JobNotFound for unknown, expired and foreign jobs alike."""
        if not job.is_id(job_id):
            raise JobNotFound(f"There is no job {job_id[:40]!r}.")
        record = await self.record(job_id)
        if record is None or record.tenant != tenant:
            raise JobNotFound(f"There is no job {job_id!r}.")
        return record

    async def record(self, job_id: str) -> Record | None:
        """A job's record, whoever owns it."""
        with store.away_is_unavailable():
            fields = await self._redis.hgetall(keys.record(job_id))  # type: ignore[misc]
        return Record.parse(job_id, fields) if fields else None

    async def list_jobs(
        self, tenant: str, *, status: str | None, limit: int, after: str | None
    ) -> tuple[list[Record], str | None]:
        """A tenant's jobs, newest first, and where to go on from (None at the end).

        A page may be short, even empty, and still have a next one: a filter looks at a bounded number of
        records per call.
        """
        found: list[Record] = []
        scanned = 0
        async for job_id, record in self._newest_first(tenant, after):
            scanned += 1
            after = job_id
            if record is not None and status in (None, record.status):
                found.append(record)
            if len(found) == limit or scanned == _LIST_SCAN:
                return found, after
        return found, None

    async def _newest_first(self, tenant: str, after: str | None) -> AsyncIterator[tuple[str, Record | None]]:
        while True:
            top = f"({after}" if after else "+"
            with store.away_is_unavailable():
                ids = await self._redis.zrevrangebylex(keys.index(tenant), top, "-", 0, _LIST_PAGE)
                pipe = self._redis.pipeline(transaction=False)
                for raw in ids:
                    pipe.hmget(keys.record(raw.decode()), list(job.LISTED_FIELDS))
                records = await pipe.execute() if ids else []
            for raw, values in zip(ids, records, strict=True):
                after = raw.decode()
                fields = {f: v for f, v in zip(job.LISTED_FIELDS, values, strict=True) if v is not None}
                yield after, Record.parse(after, fields) if fields else None
            if len(ids) < _LIST_PAGE:
                return
