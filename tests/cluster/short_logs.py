"""Logs of two entries, written by single commands."""

from __future__ import annotations

from given import attempt, completed

from tokentail.shared import events
from tokentail.shared.cursor import Cursor
from tokentail.shared.log import Entry, Logs

FENCE = 1_763_881_234_567
OPENING = Entry(Cursor(FENCE, 0), events.encode(attempt()))
ENDING = Entry(Cursor(FENCE, 1), events.encode(completed()))


async def open_log(logs: Logs, job_id: str) -> int | Entry:
    """The first entry: an attempt begins."""
    return await logs.open(job_id, OPENING.cursor, OPENING.raw, ttl_seconds=100)


async def end_log(logs: Logs, job_id: str) -> Entry | None:
    """The second one: it completes."""
    return await logs.append(job_id, ENDING.cursor, ENDING.raw, ttl_seconds=100)
