"""The registry of ways to break a good history: what goes wrong, and which rule has to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from chaos.history import Entry, History, Job

Break = Callable[[History], None]


class Breakage(NamedTuple):
    """One way to break a history that no other rule may be relied on to notice."""

    rule: str
    what: str
    do: Break


BREAKAGES: list[Breakage] = []


def breaks(rule: str, what: str) -> Callable[[Break], Break]:
    """Registers a function that breaks a good history so that `rule` has to notice."""

    def register(do: Break) -> Break:
        BREAKAGES.append(Breakage(rule, what, do))
        return do

    return register


def survivor(history: History) -> Job:
    """The good history's job that completed in its second attempt."""
    return next(iter(history.jobs.values()))


def tool_calls(history: History) -> Job:
    return list(history.jobs.values())[1]


def cancelled(history: History) -> Job:
    """The one that was cancelled in the queue."""
    return list(history.jobs.values())[2]


def unlucky(history: History) -> Job:
    """The one whose provider failed."""
    return list(history.jobs.values())[3]


def deleted(history: History) -> Job:
    return list(history.jobs.values())[4]


def altered(entry: Entry, **members: Any) -> Entry:
    return Entry(entry.id, {**entry.event, **members})


def everywhere(job: Job, change: Callable[[list[Entry]], list[Entry]]) -> None:
    """Change log, views and what follows from them alike, so that only what the provider says differs."""
    job.log = change(job.log)
    for follower in job.followers:
        follower.seen = change(follower.seen)


def fail_with(job: Job, code: str) -> None:
    """Let a job have failed, consistently."""
    ending = {"type": "failed", "error": {"code": code, "message": "-", "retryable": True}, "usage": None}
    job.log[-1] = Entry(job.log[-1].id, ending)
    job.record |= {"status": "failed", "ending": orjson.dumps(ending).decode()}
