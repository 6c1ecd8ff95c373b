"""Histories as a correct installation leaves them, for tests to break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chaos.faults import WORKER_KILL
from chaos.history import Entry, Follower, History, Incident, Job, Queue, Submission
from chaos.rules.followers import folded
from chaos.scenarios import SCENARIOS, answer
from tokentail.shared.job import is_id, new_id

#: Some time, in ms since the epoch.
NOW = 1_763_881_234_567
#: How long what has ended is kept, in ms.
KEPT = 3_600_000
#: When every job here was made, and by when it had to end.
CREATED, DEADLINE = NOW, NOW + 60_000

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "source": "provider"}


@dataclass
class Said:
    """One attempt: how many deltas of the provider's answer got into the log, and why it began."""

    deltas: int
    reason: str = "start"


class Installation:
    """Writes down what a correct installation would leave of each job, one after the other."""

    def __init__(self) -> None:
        self.history = History(queues=[Queue()])
        self._fence = NOW
        self._nonce = 0

    def submission(self, model: str, **fields: Any) -> Submission:
        number = len(self.history.submissions) + 1
        made = Submission(f"job {number}", number, model, fields.pop("on_interruption", "restart"), **fields)
        self.history.submissions.append(made)
        return made

    def job(
        self,
        model: str,
        attempts: Sequence[Said],
        ending: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Job:
        """A job whose last attempt ends with `ending`, or completes. Without attempts it never ran."""
        submission = self.submission(model, **fields)
        job = Job(new_id())
        assert is_id(job.id)
        submission.answers.append((202, job.id))
        self.history.jobs[job.id] = job
        for number, said in enumerate(attempts, 1):
            self._attempt(job, submission, number, said)
        whole = answer(SCENARIOS[model].model, "0" * 12)
        self._end(job, ending or completed(whole.finish_reason), new_fence=not attempts)
        self._store(job, submission, len(attempts))
        self._follow(job)
        return job

    def deleted(self, model: str) -> Job:
        """A job of which nothing is left but what its follower saw."""
        job = self.job(model, [Said(3)], CANCELLED, delete_asked=True, deleted=True)
        self.history.queues[-1].index["default"].discard(job.id)
        del self.history.queues[-1].records[job.id]
        job.log, job.record, job.shown = [], {}, None
        job.record_ttl = job.request_ttl = job.log_ttl = -2
        return job

    def _attempt(self, job: Job, submission: Submission, number: int, said: Said) -> None:
        self._fence += 1000
        self._nonce += 1
        nonce, model = f"{self._nonce:012x}", SCENARIOS[submission.model].model
        opening = {"type": "attempt", "attempt": number, "reason": said.reason}
        events = [opening, *answer(model, nonce).deltas[: said.deltas]]
        job.log += [Entry(f"{self._fence}-{seq}", event) for seq, event in enumerate(events)]
        request = {
            "id": nonce,
            "model": model,
            "state": "client_closed",
            "tokens": said.deltas,
            "parameters": {"seed": submission.number},
        }
        self.history.provider.requests.append(request)
        self.history.provider.started += 1

    def _end(self, job: Job, ending: dict[str, Any], *, new_fence: bool) -> None:
        if new_fence:
            self._fence += 1000
        seq = 0 if new_fence else len([e for e in job.log if str(e.id).startswith(f"{self._fence}-")])
        job.log.append(Entry(f"{self._fence}-{seq}", ending))

    def _store(self, job: Job, submission: Submission, attempts: int) -> None:
        last, fold = job.log[-1], folded(job.log)
        job.record = {
            "tenant": "default",
            "status": last.event["type"],
            "metadata": orjson.dumps({"name": submission.name}).decode(),
            "attempt": str(attempts),
            "fence": str(last.id).split("-")[0],
            "cursor": str(last.id),
            "ending": orjson.dumps(last.event).decode(),
            "result": orjson.dumps(fold.result()).decode(),
            "created": str(CREATED),
            "deadline": str(DEADLINE),
            "ended": str(CREATED + 5000),
        }
        job.record_ttl = job.request_ttl = job.log_ttl = KEPT
        job.shown = {
            "status": job.record["status"],
            "attempt": attempts,
            "cursor": last.id,
            "result": fold.result(),
            "error": last.event.get("error"),
            "metadata": {"name": submission.name},
        }
        half = len(job.log) // 2
        job.reads.append({"cursor": job.log[half].id, "result": folded(job.log[: half + 1]).result()})
        queue = self.history.queues[-1]
        queue.records[job.id] = {"status": job.record["status"], "tenant": "default"}
        queue.index.setdefault("default", set()).add(job.id)

    @staticmethod
    def _follow(job: Job) -> None:
        half = len(job.log) // 2
        job.followers = [
            Follower("whole", list(job.log), finished=True),
            Follower("left early", job.log[:half]),
            Follower("reset", [*job.log[:half], RESET, *job.log], finished=True),
        ]


RESET = Entry(None, {"type": "reset", "requested": "1-1"})
CANCELLED: dict[str, Any] = {"type": "cancelled", "reason": "requested", "usage": None}


def completed(finish_reason: str | None) -> dict[str, Any]:
    return {"type": "completed", "finish_reason": finish_reason, "usage": USAGE, "cost_usd": None}


def failed(code: str) -> dict[str, Any]:
    error = {"code": code, "message": "It failed.", "retryable": True}
    return {"type": "failed", "error": error, "usage": None}


def incident(kind: str, at: int = CREATED + 1000, until: int = CREATED + 2000) -> Incident:
    return Incident(kind, "0", at, until)


def good_history() -> History:
    """A run with one job of each kind, in this order: survived a crash, tool calls, cancelled in the queue,
    failed by its provider, deleted. Before its end, one was queued, one suspect and one running."""
    made = Installation()
    made.job("quick", [Said(3), Said(20, "lost")])
    made.job("tool-calls", [Said(9)])
    made.job("steady", [], CANCELLED, cancel_asked=True)
    made.job("hang", [Said(3)], failed("idle_timeout"), on_interruption="fail")
    made.deleted("steady")
    history = made.history
    history.incidents = [incident(WORKER_KILL)]
    ready, suspect, running, *_ = history.jobs
    statuses = {ready: "queued", suspect: "queued", running: "running"}
    history.queues.insert(
        0,
        Queue(
            ready={ready},
            suspects={suspect},
            leases={running},
            bell=1,
            index={"default": {ready, suspect, running}},
            records={job_id: {"status": status, "tenant": "default"} for job_id, status in statuses.items()},
        ),
    )
    return history


def jobs_of(history: History) -> list[Job]:
    return list(history.jobs.values())
