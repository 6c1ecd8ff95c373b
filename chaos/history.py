"""What was observed of one run: all that the checker looks at. No I/O, and no opinion on any of it.

A history is read after everything has been healed and has had its time to end. Times are ms since the epoch
by Redis's clock, which on one machine is everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

#: What Redis says of a key's time to live when there is no key, and when it lives for ever.
ABSENT, ENDLESS = -2, -1


class Entry(NamedTuple):
    """One entry of a log, or one event as a follower received it; `reset` has no id."""

    id: str | None
    event: dict[str, Any]


@dataclass
class Submission:
    """One wish of a client for one job, however often it had to ask."""

    #: Stands in the job's metadata, so that a job can be recognized whose POST got no answer.
    name: str
    #: The request's `seed`, which reaches the provider: its ledger can be held against ours.
    number: int
    #: The alias of a scenario.
    model: str
    on_interruption: str
    idempotency_key: str | None = None
    #: Of each POST: the status and, with 200 or 202, the job's id. Status 0: no answer came.
    answers: list[tuple[int, str | None]] = field(default_factory=list)
    cancel_asked: bool = False
    delete_asked: bool = False
    #: A DELETE was answered 204.
    deleted: bool = False


@dataclass
class Follower:
    """Everything one client saw of one job, over as many connections as it took, in order."""

    name: str
    seen: list[Entry] = field(default_factory=list)
    #: It was told that nothing more comes: by the ending, or by 204.
    finished: bool = False
    #: It came back until it was told so.
    stays: bool = False


@dataclass
class Job:
    """One job as Redis, the API and its followers have it."""

    id: str
    log: list[Entry] = field(default_factory=list)
    #: The record's fields; empty if there is none.
    record: dict[str, str] = field(default_factory=dict)
    #: Times to live in ms, or ABSENT, or ENDLESS.
    record_ttl: int = ABSENT
    request_ttl: int = ABSENT
    log_ttl: int = ABSENT
    #: The job object at the end; None if the API knows no such job.
    shown: dict[str, Any] | None = None
    #: Job objects read while the job was on its way.
    reads: list[dict[str, Any]] = field(default_factory=list)
    followers: list[Follower] = field(default_factory=list)

    @property
    def exists(self) -> bool:
        """Whether it has not been deleted."""
        return bool(self.record)

    @property
    def name(self) -> str:
        """The name of its submission, as the job itself carries it."""
        return str(orjson.loads(self.record.get("metadata", "{}")).get("name", ""))


@dataclass
class Queue:
    """The control plane at one moment, read in one step."""

    ready: set[str] = field(default_factory=set)
    #: Queued jobs that have taken down a worker.
    suspects: set[str] = field(default_factory=set)
    leases: set[str] = field(default_factory=set)
    #: Dead letters.
    dead: set[str] = field(default_factory=set)
    bell: int = 0
    #: Job ids by tenant.
    index: dict[str, set[str]] = field(default_factory=dict)
    #: Of each record, by job: status, tenant and what else is small; `code` of the error it ended with.
    records: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Provider:
    """The provider's ledger: requests as its `/stats` lists them."""

    open_streams: int = 0
    #: How many requests there were in all; the ledger forgets the oldest beyond its size.
    started: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Incident:
    """A fault that was injected, from its first effect to its last."""

    kind: str
    target: str
    began: int
    ended: int


@dataclass
class History:
    """One run."""

    submissions: list[Submission] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    #: Moments during the run, and as the last one the end.
    queues: list[Queue] = field(default_factory=list)
    provider: Provider = field(default_factory=Provider)
    incidents: list[Incident] = field(default_factory=list)
    #: What no client and no operator should ever see, as sentences.
    oddities: list[str] = field(default_factory=list)

    def submission_of(self, job: Job) -> Submission | None:
        """What asked for a job: by an answer that named it, or by the name in its metadata."""
        for one in self.submissions:
            if one.name == job.name or any(job_id == job.id for _, job_id in one.answers):
                return one
        return None
