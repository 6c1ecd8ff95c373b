"""One job's log: open, append, read, delete. The truth that everything else is healed from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from tokentail.shared import events, keys
from tokentail.shared import redis as store
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.durable import Durable
from tokentail.shared.errors import LogCut
from tokentail.shared.events import Event

FIELD = b"e"

_GUARD = "append"

#: Entries per read: a page of small deltas is ~100 KB, far below what stalls Redis or us.
PAGE = 1000


class Entry(NamedTuple):
    """One event of a log and where it stands. `raw` is the event's JSON as the worker wrote it."""

    cursor: Cursor
    raw: bytes

    @property
    def is_ending(self) -> bool:
        """Whether nothing can follow it."""
        return events.is_ending(self.raw)

    def event(self) -> Event:
        """The event, parsed."""
        return events.decode(self.raw)


class Logs:
    """All logs of one data plane. Every method raises StoreUnavailable when the log's Redis is away."""

    def __init__(self, plane: DataPlane, *, wait_replicas: int = 0) -> None:
        self._plane = plane
        #: An opening that is lost is written again by its owner, who has it; nobody has to wait for it.
        self._openings = Durable(0)
        self._endings = Durable(wait_replicas)

    async def open(self, job_id: str, cursor: Cursor, raw: bytes, *, ttl_seconds: float) -> int | Entry:
        """Append the entry that opens an attempt and set the log's lifetime from now.

        Returns how many bytes of memory the log took before if it is written (also if it was already:
        repeating is harmless), else the entry that forbids it: the log's ending, or an entry of a newer
        attempt.
        """
        answer = await self._guarded(self._openings, job_id, cursor, raw, ttl_seconds)
        return answer if isinstance(answer, Entry) else int(answer[1])

    async def append(self, job_id: str, cursor: Cursor, raw: bytes, *, ttl_seconds: float) -> Entry | None:
        """Append an ending and set the log's lifetime from now. It is stored also where Redis has no memory
        left for anything else, and on as many replicas as an ending must be.

        Returns None when it is written (also if it was already: repeating is harmless), else the entry
        that forbids it: the log's ending, or an entry of a newer attempt. Raises LogCut if the entry would
        not follow the one before it.
        """
        answer = await self._guarded(self._endings, job_id, cursor, raw, ttl_seconds)
        return answer if isinstance(answer, Entry) else None

    async def _guarded(
        self, durable: Durable, job_id: str, cursor: Cursor, raw: bytes, ttl_seconds: float
    ) -> Any:
        key = keys.log(job_id)
        args: list[Any] = [str(cursor), raw, int(ttl_seconds * 1000)]
        answer = await self._plane.run(key, lambda redis: durable.script(redis, _GUARD)([key], args))
        if answer[0] == b"gap":
            raise LogCut(f"Redis has forgotten the end of the log of {job_id}.")
        return forbidding(answer) or answer

    async def last(self, job_id: str) -> Entry | None:
        """The newest entry, or None if there is no log."""
        key = keys.log(job_id)
        found = await self._plane.run(key, lambda redis: redis.xrevrange(key, count=1))
        return entry(found[0]) if found else None

    async def page(self, job_id: str, after: Cursor) -> list[Entry]:
        """The next entries after a cursor, at most PAGE of them; fewer at the end."""
        key, begin = keys.log(job_id), f"({after}"
        found = await self._plane.run(key, lambda redis: redis.xrange(key, min=begin, count=PAGE))
        return [entry(item) for item in found]

    async def read(self, job_id: str, after: Cursor = START) -> AsyncIterator[Entry]:
        """Every entry there is after a cursor, page by page; returns at the end, waits for nothing."""
        while True:
            page = await self.page(job_id, after)
            for read in page:
                after = read.cursor
                yield read
            if len(page) < PAGE:
                return

    async def delete(self, job_id: str) -> None:
        """Remove the log at once."""
        key = keys.log(job_id)
        await self._plane.run(key, lambda redis: redis.unlink(key))


def opening(key: str, cursor: Cursor, raw: bytes, ttl_seconds: float) -> tuple[Any, ...]:
    """The command that does what `Logs.open` does, for connections that are not a client's."""
    return ("EVAL", store.script_text(_GUARD), 1, key, str(cursor), raw, int(ttl_seconds * 1000))


def forbidding(answer: list[bytes]) -> Entry | None:
    """The entry that stood in the way of an opening, by the script's answer."""
    return None if answer[0] == b"written" else Entry(Cursor.parse(answer[1]), answer[2])


def entry(item: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    """One entry as the driver reads it."""
    entry_id, fields = item
    return Entry(Cursor.parse(entry_id), fields[FIELD])
