"""What holds of the control plane at every moment, since each of its scripts is one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from chaos.history import History, Queue

#: Where a job of each status stands. A queued one is ready, or a suspect.
_PLACES = {"queued": {"ready", "suspects"}, "running": {"leases"}}


class Counter(NamedTuple):
    """Something that Redis keeps count of, and how to count it again."""

    name: str
    kept: Callable[[Queue], object]
    recounted: Callable[[Queue], object]


def _number(queue: Queue, status: str) -> int:
    return sum(record["status"] == status for record in queue.records.values())


def _by_tenant(queue: Queue) -> dict[str, set[str]]:
    tenants: dict[str, set[str]] = {}
    for job_id, record in queue.records.items():
        tenants.setdefault(record["tenant"], set()).add(job_id)
    return tenants


#: One line for each number that is kept beside the records.
COUNTERS = (
    Counter("queue's depth", lambda q: len(q.ready) + len(q.suspects), lambda q: _number(q, "queued")),
    Counter("number of leases", lambda q: len(q.leases), lambda q: _number(q, "running")),
    Counter("tenants' indexes", lambda q: {t: ids for t, ids in q.index.items() if ids}, _by_tenant),
)


def counters_equal_a_recount(history: History) -> Iterator[str]:
    """What is counted in passing is what is there."""
    for moment, queue in enumerate(history.queues):
        for counter in COUNTERS:
            kept, recounted = counter.kept(queue), counter.recounted(queue)
            if kept != recounted:
                yield f"at moment {moment} the {counter.name} is kept as {kept} and recounted as {recounted}"


def every_job_stands_in_one_place(history: History) -> Iterator[str]:
    """Queued: ready or suspect. Running: leased. Ended: nowhere."""
    for moment, queue in enumerate(history.queues):
        places = {"ready": queue.ready, "suspects": queue.suspects, "leases": queue.leases}
        for job_id in sorted(queue.records.keys() | queue.ready | queue.suspects | queue.leases):
            status = queue.records.get(job_id, {}).get("status", "gone")
            found = sorted(name for name, members in places.items() if job_id in members)
            allowed = _PLACES.get(status, set())
            if len(found) != bool(allowed) or not set(found) <= allowed:
                yield f"at moment {moment} {job_id} is {status} and stands in {found or 'no queue'}"


def dead_letters_killed_their_workers(history: History) -> Iterator[str]:
    """A dead letter is a job that was ended because it kept killing its workers, as every such job is."""
    for moment, queue in enumerate(history.queues):
        lost = {job_id for job_id, record in queue.records.items() if record.get("code") == "worker_lost"}
        for job_id in sorted(lost ^ (queue.dead & queue.records.keys())):
            is_what = "has lost its workers" if job_id in lost else queue.records[job_id]["status"]
            is_dead = "a dead letter" if job_id in queue.dead else "no dead letter"
            yield f"at moment {moment} {job_id} is {is_dead} and {is_what}"


def one_bell_at_most(history: History) -> Iterator[str]:
    """A bell that is rung for each job would wake workers for nothing for a long time."""
    for moment, queue in enumerate(history.queues):
        if queue.bell > 1:
            yield f"at moment {moment} the bell holds {queue.bell} pushes"
