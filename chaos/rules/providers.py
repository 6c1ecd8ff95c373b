"""What holds between the logs and what the provider says it sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from chaos.history import Entry, History, Job
from chaos.scenarios import SCENARIOS, answer
from tokentail.shared.cursor import Cursor

# Where the demo provider puts the nonce of a request: into its first token, or into its tool calls' ids.
_NONCE = re.compile(r"^(?:\[|call_)([0-9a-f]{12})(?:\] |_\d+$)")


def no_connection_is_left_open(history: History) -> Iterator[str]:
    """When all jobs have ended, nobody pays for a stream any more."""
    if history.provider.open_streams:
        yield f"the provider has {history.provider.open_streams} open streams"
    for request in history.provider.requests:
        if request["state"] == "open":
            yield f"the provider's request {request['id']} is still open"


def ledger_is_complete(history: History) -> Iterator[str]:
    """Nothing can be held against a ledger that has forgotten its oldest requests."""
    provider = history.provider
    if provider.started != len(provider.requests):
        yield f"the provider's ledger holds {len(provider.requests)} of {provider.started} requests"


def every_request_is_a_jobs(history: History) -> Iterator[str]:
    """The provider is asked only what a client asked for, and once for each attempt at most."""
    jobs = {}
    for job in history.jobs.values():
        if (submission := history.submission_of(job)) is not None:
            jobs[submission.number] = job
    known = {submission.number: submission for submission in history.submissions}
    asked: dict[int, int] = {}
    for request in history.provider.requests:
        number = request["parameters"].get("seed")
        if number not in known:
            yield f"the provider's request {request['id']} belongs to no submission"
        elif request["model"] != SCENARIOS[known[number].model].model:
            yield f"the provider's request {request['id']} asks for {request['model']}"
        else:
            asked[number] = asked.get(number, 0) + 1
    for number, job in jobs.items():
        if job.exists and (times := asked.get(number, 0)) > int(job.record["attempt"]):
            yield f"{job.id} asked the provider {times} times in {job.record['attempt']} attempts"


def attempts_say_what_the_provider_said(history: History, job: Job) -> Iterator[str]:
    """An attempt's deltas are, one by one, the beginning of what the provider sent for it; those of a
    completed attempt are all of it."""
    requests = {request["id"]: request for request in history.provider.requests}
    submission = history.submission_of(job)
    for attempt in _attempts(job):
        deltas = [entry.event for entry in attempt if entry.event["type"] == "delta"]
        if not deltas:
            if attempt[-1].event["type"] == "completed":
                yield f"the attempt at {attempt[0].id} completed and said nothing"
            continue
        nonce = nonce_of(deltas[0])
        request = requests.get(nonce or "")
        if request is None:
            yield f"the attempt at {attempt[0].id} begins with what the provider never sent"
        elif submission is not None and request["parameters"].get("seed") != submission.number:
            yield f"the attempt at {attempt[0].id} says what was meant for another job"
        else:
            yield from _compare(attempt, deltas, request)


def _compare(attempt: list[Entry], deltas: list[dict[str, Any]], request: dict[str, Any]) -> Iterator[str]:
    whole = answer(request["model"], request["id"])
    name, ending = f"the attempt at {attempt[0].id}", attempt[-1].event
    if len(deltas) > request["tokens"]:
        yield f"{name} has {len(deltas)} deltas, the provider sent {request['tokens']}"
    for index, (ours, theirs) in enumerate(zip(deltas, whole.deltas, strict=False)):
        if ours != theirs:
            yield f"{name} has {ours} as delta {index}, the provider sent {theirs}"
            return
    if len(deltas) > len(whole.deltas):
        yield f"{name} goes on behind the provider's end"
    if ending["type"] == "completed":
        if len(deltas) < len(whole.deltas):
            yield f"{name} completed with {len(deltas)} of {len(whole.deltas)} deltas"
        if ending["finish_reason"] != whole.finish_reason:
            yield f"{name} stopped for {ending['finish_reason']}, the provider for {whole.finish_reason}"


def no_answer_is_used_twice(history: History) -> Iterator[str]:
    """One request to the provider feeds one attempt."""
    users: dict[str, str] = {}
    for job in history.jobs.values():
        for attempt in _attempts(job):
            deltas = [entry.event for entry in attempt if entry.event["type"] == "delta"]
            if deltas and (nonce := nonce_of(deltas[0])) is not None:
                if nonce in users:
                    yield f"{users[nonce]} and {job.id} at {attempt[0].id} share one answer"
                users[nonce] = f"{job.id} at {attempt[0].id}"


def nonce_of(delta: dict[str, Any]) -> str | None:
    """Which of the provider's answers a first delta comes from."""
    calls = delta.get("tool_calls") or [{}]
    match = _NONCE.match(delta.get("content") or calls[0].get("id") or "")
    return match[1] if match else None


def _attempts(job: Job) -> Iterator[list[Entry]]:
    """A log's entries, cut where a new fence begins. An ending alone is no attempt."""
    attempts: dict[int, list[Entry]] = {}
    for entry in job.log:
        attempts.setdefault(Cursor.parse(entry.id or "").fence, []).append(entry)
    return (entries for entries in attempts.values() if entries[0].event["type"] == "attempt")
