"""One job's log: open, append, read, delete. The truth that everything else is healed from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from redis.asyncio import Redis

from tokentail.shared import events, keys
from tokentail.shared import redis as store
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import LogCut
from tokentail.shared.events import Event

FIELD = b"e"

#: Entries per read: a page of small deltas is ~100 KB, far below what stalls Redis or us.
PAGE = 1000


class Entry(NamedTuple):
    """One event of a log and where it stands. `raw` is the event's JSON as the worker wrote it."""

    cursor: Cursor
    raw: bytes

    @property
    def is_ending(self) -> bool:
        """Whether nothing can follow it."""
        return events.type_of(self.raw) in events.ENDINGS

    def event(self) -> Event:
        """The event, parsed."""
        return events.decode(self.raw)


class Logs:
    """All logs of one data plane. Every method raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append = store.script(redis, "append")

    async def append(self, job_id: str, cursor: Cursor, raw: bytes, *, ttl_seconds: float) -> Entry | None:
        """Append the entry that opens or ends an attempt and set the log's lifetime from now.

        Returns None when it is written (also if it was already: repeating is harmless), else the entry
        that forbids it: the log's ending, or an entry of a newer attempt. Raises LogCut if the entry would
        not follow the one before it.
        """
        with store.away_is_unavailable():
            answer = await self._append([keys.log(job_id)], [str(cursor), raw, int(ttl_seconds * 1000)])
        if answer[0] == b"written":
            return None
        if answer[0] == b"gap":
            raise LogCut(f"Redis has forgotten the end of the log of {job_id}.")
        return Entry(Cursor.parse(answer[1]), answer[2])

    async def last(self, job_id: str) -> Entry | None:
        """The newest entry, or None if there is no log."""
        with store.away_is_unavailable():
            found = await self._redis.xrevrange(keys.log(job_id), count=1)
        return entry(found[0]) if found else None

    async def read(self, job_id: str, after: Cursor = START) -> AsyncIterator[Entry]:
        """Every entry there is after a cursor, page by page; returns at the end, waits for nothing."""
        while True:
            with store.away_is_unavailable():
                page = await self._redis.xrange(keys.log(job_id), min=f"({after}", count=PAGE)
            for item in page:
                read = entry(item)
                after = read.cursor
                yield read
            if len(page) < PAGE:
                return

    async def delete(self, job_id: str) -> None:
        """Remove the log at once."""
        with store.away_is_unavailable():
            await self._redis.unlink(keys.log(job_id))


def entry(item: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    """One entry as the driver reads it."""
    entry_id, fields = item
    return Entry(Cursor.parse(entry_id), fields[FIELD])
