"""Whether each job ended in a way that what happened to it allows."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from chaos.faults import PROVIDER_TROUBLE, REDIS_TROUBLE, WORKER_DEPLOY, WORKER_FREEZE, WORKER_LOSSES
from chaos.history import History, Incident, Job, Submission
from chaos.scenarios import EXHAUSTED, SCENARIOS
from tokentail.shared.events import ENDINGS

#: What a client may get besides an answer: Redis away, too much work. 0: no answer at all.
_REFUSALS = {0, 429, 503}

#: A failure of the provider, or what looks like one, that another try may get over.
_TRANSIENT_CODES = {"provider_error", "provider_truncated", "first_token_timeout", "idle_timeout"}
_PROVIDER_CODES = _TRANSIENT_CODES | {EXHAUSTED}

#: A fault is felt a little longer than it lasts: a lease after a worker's death, a clock that has begun.
_AFTERMATH_MS = 10_000

#: A job that has taken this many workers down with it is taken for the cause.
_POISON_CRASHES = 2


def one_submission_is_one_job(history: History) -> Iterator[str]:
    """However often a client had to ask, one wish is one job, and what was accepted is there."""
    found: dict[str, list[str]] = {}
    for job in history.jobs.values():
        if (submission := history.submission_of(job)) is None:
            yield f"{job.id} was never asked for"
        else:
            found.setdefault(submission.name, []).append(job.id)
    for submission in history.submissions:
        jobs = found.get(submission.name, [])
        if len(jobs) > 1:
            yield f"{submission.name} has {len(jobs)} jobs: {', '.join(sorted(jobs))}"
        yield from _accepted_is_there(history, submission)


def _accepted_is_there(history: History, submission: Submission) -> Iterator[str]:
    for status, job_id in submission.answers:
        if status not in {200, 202, *_REFUSALS}:
            yield f"{submission.name} was answered {status}"
        if job_id is not None and not submission.delete_asked:
            job = history.jobs.get(job_id)
            if job is None or not job.exists:
                yield f"{submission.name} was answered {status} with {job_id}, which is not there"


def what_was_deleted_is_gone(history: History, job: Job) -> Iterator[str]:
    """204 means gone, and nothing goes that nobody asked to go."""
    submission = history.submission_of(job)
    if submission is not None and submission.deleted and job.exists:
        yield "it was deleted and is still there"
    if submission is not None and not submission.delete_asked and not job.exists:
        yield "it is gone and nobody deleted it"


def endings_have_their_reasons(history: History, job: Job) -> Iterator[str]:
    """A job that met only what it must survive completes; every other ending needs its cause."""
    submission = history.submission_of(job)
    if submission is None or not job.exists or job.record["status"] not in ENDINGS:
        return
    match job.record["status"]:
        case "completed":
            if not SCENARIOS[submission.model].completes:
                yield f"it completed, and {submission.model} never does"
        case "cancelled":
            if not (submission.cancel_asked or submission.delete_asked):
                yield "it was cancelled and nobody had asked for it"
        case "failed":
            yield from _failure(history, job, submission)


def _failure(history: History, job: Job, submission: Submission) -> Iterator[str]:
    code = orjson.loads(job.record["ending"])["error"]["code"]
    said = f"it failed with {code} ({submission.model}, {submission.on_interruption})"
    scenario = SCENARIOS[submission.model]
    met = [one for one in history.incidents if _meets(one, job)]
    if code == "worker_lost":
        if sum(_takes_a_worker(one, met) for one in met) < _POISON_CRASHES:
            yield f"{said}, and met {[one.kind for one in met] or 'nothing'}"
    elif code == "deadline_exceeded":
        if int(job.record["ended"]) < int(job.record["deadline"]):
            yield f"{said} before its deadline"
    elif code in scenario.codes:
        if submission.on_interruption == "restart" and code in _TRANSIENT_CODES:
            yield f"{said} without another try"
    elif code in _PROVIDER_CODES:
        if not any(one.kind in PROVIDER_TROUBLE | {WORKER_FREEZE} for one in met):
            yield f"{said}, and met {[one.kind for one in met] or 'nothing'}"
    else:
        yield said


def _meets(incident: Incident, job: Job) -> bool:
    began, ended = int(job.record["created"]), int(job.record["ended"])
    return incident.began <= ended and began <= incident.ended + _AFTERMATH_MS


def _takes_a_worker(incident: Incident, met: list[Incident]) -> bool:
    """A worker that was killed, or froze for longer than its leases; one that was told to stop only if it
    could not say goodbye."""
    if incident.kind in WORKER_LOSSES:
        return True
    return incident.kind == WORKER_DEPLOY and any(
        one.kind in REDIS_TROUBLE
        and one.began <= incident.ended + _AFTERMATH_MS
        and incident.began <= one.ended + _AFTERMATH_MS
        for one in met
    )


def deploys_hand_over(history: History, job: Job) -> Iterator[str]:
    """An attempt begins as a handoff only if a worker was told to stop."""
    is_handoff = any(entry.event.get("reason") == "handoff" for entry in job.log)
    if is_handoff and not any(one.kind == WORKER_DEPLOY for one in history.incidents):
        yield "it was handed over and no worker was told to stop"


def nothing_odd_is_seen(history: History) -> Iterator[str]:
    """Whatever is broken, a client gets an answer that the protocol knows, and what is told to stop stops."""
    yield from history.oddities
