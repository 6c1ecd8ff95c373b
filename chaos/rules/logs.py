"""What holds of each log by itself (protocol, section 3; ADR 0002)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from chaos.history import Entry, History, Job
from tokentail.shared.cursor import Cursor
from tokentail.shared.events import ENDINGS


def ids_rise(_: History, job: Job) -> Iterator[str]:
    """The order of ids is the order of the log."""
    cursors = [cursor_of(entry) for entry in job.log]
    for before, after in pairwise(cursors):
        if not before < after:
            yield f"entry {after} follows {before}"


def sequences_are_dense(_: History, job: Job) -> Iterator[str]:
    """Within a fence seq counts 0, 1, 2, …: a client finds a gap by it."""
    expected: dict[int, int] = {}
    for entry in job.log:
        fence, seq = cursor_of(entry)
        if seq != expected.get(fence, 0):
            yield f"entry {entry.id} stands where {fence}-{expected.get(fence, 0)} should"
        expected[fence] = seq + 1


def attempts_open_their_fence(_: History, job: Job) -> Iterator[str]:
    """Each fence opens with its attempt, or is one ending that the control plane decided; attempts count
    upwards."""
    newest = 0
    for entry in job.log:
        kind, is_first = entry.event["type"], cursor_of(entry).seq == 0
        if is_first and kind != "attempt" and kind not in ENDINGS:
            yield f"fence of {entry.id} opens with {kind!r}"
        if kind == "attempt":
            if not is_first:
                yield f"an attempt begins at {entry.id}, in the middle of a fence"
            if entry.event["attempt"] <= newest:
                yield f"attempt {entry.event['attempt']} at {entry.id} comes after attempt {newest}"
            newest = max(newest, entry.event["attempt"])


def one_ending_and_nothing_after_it(_: History, job: Job) -> Iterator[str]:
    """After an ending nothing is ever appended, so there is only one."""
    ending = next((entry for entry in job.log if entry.event["type"] in ENDINGS), None)
    if ending is not None and ending is not job.log[-1]:
        yield f"{job.log[-1].id} comes after the ending {ending.id}"


def cursor_of(entry: Entry) -> Cursor:
    """Where an entry of a log stands."""
    return Cursor.parse(entry.id or "")
