"""A job's record: its states, the arrows between them, and its fields one by one.

The Lua scripts move a record along these arrows and no others; a test holds them against this table.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from tokentail.shared.cursor import Cursor
from tokentail.shared.events import ENDINGS, Ending, Reason
from tokentail.shared.fold import Result


class Status(StrEnum):
    """Where a job is. The last three are endings: nothing moves a job on from there."""

    #: In `ready`, claimable from its score on; in `suspects` instead when it has crashed, until it is found
    #: out. No lease, no owner. A crash of anything changes nothing.
    QUEUED = "queued"
    #: In `leases`, owned by one worker. If the worker dies, the lease lapses and the next claim queues it.
    RUNNING = "running"
    #: The model finished and said why.
    COMPLETED = "completed"
    #: No attempt came to a good end.
    FAILED = "failed"
    #: Somebody asked for it.
    CANCELLED = "cancelled"


#: Every arrow: from → {script: to}. A script that meets another state refuses and changes nothing.
ARROWS: dict[Status | None, dict[str, set[Status]]] = {
    None: {"enqueue": {Status.QUEUED}},
    Status.QUEUED: {
        "claim": {Status.RUNNING},
        "cancel": {Status.CANCELLED},
        # It waited too long, or was to be cancelled when its owner died.
        "expire": {Status.FAILED, Status.CANCELLED},
        # It came back from a lost worker whose log turned out to have ended.
        "finish": {Status.COMPLETED, Status.FAILED, Status.CANCELLED},
    },
    Status.RUNNING: {
        "claim": {Status.QUEUED},  # its lease had lapsed
        # The same, while nobody claims; and at once on to where it has to go.
        "expire": {Status.QUEUED, Status.FAILED, Status.CANCELLED},
        "handback": {Status.QUEUED},
        "finish": {Status.COMPLETED, Status.FAILED, Status.CANCELLED},
    },
    # Only while `unlogged`: the log turned out to hold another ending, and the log wins.
    Status.CANCELLED: {"finish": {Status.COMPLETED, Status.FAILED, Status.CANCELLED}},
    Status.FAILED: {"finish": {Status.COMPLETED, Status.FAILED, Status.CANCELLED}},
}


@dataclass(frozen=True, slots=True)
class Record:
    """What the control plane knows of a job. Times are ms since the epoch by Redis's clock."""

    id: str
    tenant: str
    model: str
    status: Status
    metadata: dict[str, str]
    created: int
    #: When the job has to end, waiting included, and when at the latest it may begin for the first time.
    deadline: int
    start_by: int
    #: First claim; 0 before.
    started: int
    #: 0 before.
    ended: int
    #: Claims so far: the number of the newest attempt. Why it comes back is counted apart, so that a
    #: deploy never uses up a job's tries: `tries` of the provider, `crashes` of workers, `handoffs`.
    attempt: int
    tries: int
    crashes: int
    handoffs: int
    #: It crashed while it ran alone: it is the cause, and is not run again.
    poison: bool
    #: The workers with which it crashed, oldest first; also those that turned out to be alive.
    lost_workers: tuple[str, ...]
    #: The newest attempt's fence; 0 before the first claim.
    fence: int
    #: Why the next (or the running) attempt begins.
    reason: Reason
    #: Somebody asked for its end while it was running.
    cancel: bool
    #: The ending as its log holds it, where it stands there, and the folded result; None before.
    ending: Ending | None
    cursor: Cursor | None
    result: Result | None
    #: The ending above is decided but may not stand in the log yet: whoever sees this appends it.
    unlogged: bool

    @property
    def has_ended(self) -> bool:
        """Whether the record holds an ending."""
        return self.status in ENDINGS

    @classmethod
    def parse(cls, job_id: str, fields: dict[bytes, bytes]) -> Record:
        """Read a record hash."""
        text = {name.decode(): value.decode() for name, value in fields.items()}
        cursor, ending, result = text.get("cursor"), text.get("ending"), text.get("result")
        return cls(
            id=job_id,
            tenant=text["tenant"],
            model=text["model"],
            status=Status(text["status"]),
            metadata=orjson.loads(text["metadata"]),
            **{name: int(text.get(name, 0)) for name in _NUMBERS},
            reason=text["reason"],  # type: ignore[arg-type]
            poison="poison" in text,
            lost_workers=tuple(text.get("lost_workers", "").split()),
            cancel="cancel" in text,
            ending=orjson.loads(ending) if ending else None,
            cursor=Cursor.parse(cursor) if cursor else None,
            result=orjson.loads(result) if result else None,
            unlogged="unlogged" in text,
        )


def fields_of(flat: list[bytes]) -> dict[bytes, bytes]:
    """A record hash as a script returns it: names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


#: Everything but the result, which may be megabytes and is not listed.
LISTED_FIELDS = tuple(
    b"tenant model status metadata created deadline started ended attempt fence reason ending cursor".split()
)

_NUMBERS = (
    *("created", "deadline", "start_by", "started", "ended"),
    *("attempt", "tries", "crashes", "handoffs", "fence"),
)

# Crockford's base 32, lower case: digits sort before letters, so ids sort by time as text.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """A job id nobody can guess (80 random bits) that sorts by its creation (48 bits of ms before them)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "job_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_id(text: str) -> bool:
    """Whether a text can be a job id at all."""
    return len(text) == 30 and text.startswith("job_") and all(c in _ALPHABET for c in text[4:])


def job_object(record: Record, *, result: Result | None, cursor: Cursor | None) -> dict[str, Any]:
    """The job as clients see it (protocol, section 2). `result` and `cursor` are given apart because a
    running job's come from its log."""
    ending: dict[str, Any] = dict(record.ending or {})
    started, ended = record.started or None, record.ended or None
    timings = ending.get("timings") or {
        "queued_ms": started - record.created if started else None,
        "first_delta_ms": None,
        "total_ms": ended - record.created if ended else None,
    }
    path = f"/v1/jobs/{record.id}"
    return {
        "id": record.id,
        "object": "job",
        "status": record.status,
        "model": record.model,
        "created_at": rfc3339(record.created),
        "started_at": rfc3339(started),
        "ended_at": rfc3339(ended),
        "attempt": record.attempt,
        "cursor": str(cursor) if cursor else None,
        "result": result,
        "usage": ending.get("usage"),
        "cost_usd": ending.get("cost_usd"),
        "timings": timings,
        "error": ending.get("error"),
        "metadata": record.metadata,
        "links": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"},
    }


def rfc3339(ms: int | None) -> str | None:
    """A time as the protocol writes it: UTC with milliseconds."""
    if ms is None:
        return None
    seconds, millis = divmod(ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"
