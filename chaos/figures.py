"""What a run did, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from chaos.history import History, Job
from chaos.plan import Plan


@dataclass
class Figures:
    """Figures of one run, or with `add` of several."""

    schedules: int = 0
    seconds: float = 0.0
    #: Injected faults by kind.
    faults: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    #: Jobs by how they ended: the ending's type, for failed ones with the code, or the status they are in.
    endings: Counter[str] = field(default_factory=Counter)
    #: Jobs by scenario.
    scenarios: Counter[str] = field(default_factory=Counter)
    #: Attempts that opened their log, by reason.
    attempts: Counter[str] = field(default_factory=Counter)
    #: Deltas that stand in logs.
    tokens: int = 0
    #: Requests that reached the provider.
    provider_requests: int = 0
    #: What clients did and met: reconnects, resets, cancels, …
    clients: Counter[str] = field(default_factory=Counter)
    violations: int = 0

    @classmethod
    def of(cls, plan: Plan, history: History, clients: Counter[str], seconds: float) -> Figures:
        """Count one run; its violations are added by who checks it."""
        jobs = list(history.jobs.values())
        entries = [entry.event for job in jobs for entry in job.log]
        return cls(
            schedules=1,
            seconds=seconds,
            faults=Counter(incident.kind for incident in history.incidents),
            jobs=len(jobs),
            endings=Counter(_ending(job) for job in jobs),
            scenarios=Counter(wish.model for wish in plan.wishes),
            attempts=Counter(event["reason"] for event in entries if event["type"] == "attempt"),
            tokens=sum(event["type"] == "delta" for event in entries),
            provider_requests=history.provider.started,
            clients=Counter(clients),
        )

    def add(self, other: Figures) -> None:
        """Take another run's figures in."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        # Not `asdict`: it makes a Counter of a Counter's items.
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: dict(one) if isinstance(one, Counter) else one for name, one in values.items()}


def _ending(job: Job) -> str:
    if not job.exists:
        return "deleted"
    if job.record["status"] != "failed":
        return job.record["status"]
    return f"failed: {orjson.loads(job.record['ending'])['error']['code']}"
