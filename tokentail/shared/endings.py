"""Making record and log agree on a job's ending, whoever notices that they don't.

An ending is written twice: into the log, which followers read, and into the record, which `GET` reads.
A crash between the two leaves one without the other. Both repairs are harmless however often and by
however many they are done, and where the two disagree the log wins: followers have seen it.
"""

from __future__ import annotations

from tokentail.shared import events
from tokentail.shared.cursor import Cursor
from tokentail.shared.fold import Fold
from tokentail.shared.job import Record
from tokentail.shared.log import Entry, Logs
from tokentail.shared.queue import Queue


async def settled(queue: Queue, logs: Logs, record: Record) -> Record:
    """The record, after the log was told of an ending that only the record held (a job that was cancelled,
    or waited too long, in the queue).

    If the log already holds another ending, the record takes that over instead. Raises StoreUnavailable;
    what is left undone then is done by the next who looks. Raises JobNotFound if it has been deleted.
    """
    if not record.unlogged or record.ending is None or record.cursor is None:
        return record
    ending = Entry(record.cursor, events.encode(record.ending))
    there = await _appended(queue, logs, record.id, ending)
    if not there.is_ending:
        # A fence that the record's Redis has forgotten, in a failover: the ending goes behind it.
        ending = Entry(Cursor(there.cursor.fence + 1, 0), ending.raw)
        there = await _appended(queue, logs, record.id, ending)
    if there.is_ending:
        await record_ending(queue, logs, record.id, record.fence, there)
    return await queue.get(record.tenant, record.id)


async def _appended(queue: Queue, logs: Logs, job_id: str, ending: Entry) -> Entry:
    there = await logs.append(job_id, ending.cursor, ending.raw, ttl_seconds=queue.log_ttl_seconds)
    return there or ending


async def record_ending(queue: Queue, logs: Logs, job_id: str, fence: int, ending: Entry) -> None:
    """Give the record an ending that the log holds, with the result folded from the log.

    `fence` is the record's own; a newer attempt has noticed the ending itself. Raises StoreUnavailable.
    """
    fold, _ = await folded(logs, job_id)
    event = ending.event()
    await queue.finish(job_id, fence, ending.cursor, event, fold.result())  # type: ignore[arg-type]


async def folded(logs: Logs, job_id: str) -> tuple[Fold, Cursor | None]:
    """The fold of all there is of a log, and the cursor that it stands for."""
    fold, cursor = Fold(), None
    async for entry in logs.read(job_id):
        fold.add(entry.event())
        cursor = entry.cursor
    return fold, cursor
