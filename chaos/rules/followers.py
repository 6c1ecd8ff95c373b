"""What holds of each follower's view, against the log that it follows (protocol, section 3)."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.history import Entry, Follower, History, Job
from tokentail.shared.cursor import Cursor
from tokentail.shared.events import ENDINGS
from tokentail.shared.fold import Fold


def views_are_runs_of_the_log(_: History, job: Job) -> Iterator[str]:
    """Between resets a follower sees a contiguous run of the log's entries: none lost, repeated or foreign.

    What Redis lost after it was shown may stand in a view alone if the follower is told so by a reset.
    """
    if not job.exists:
        return  # A deleted log can't prove anything.
    places = {entry.id: index for index, entry in enumerate(job.log)}
    for follower in job.followers:
        for run, is_taken_back in _runs(follower):
            yield from _strangers(job, follower, run, places, is_taken_back)


def _strangers(
    job: Job, follower: Follower, run: list[Entry], places: dict[str | None, int], is_taken_back: bool
) -> Iterator[str]:
    expected = 0
    for entry in run:
        at = places.get(entry.id)
        if at is None:
            if not is_taken_back:
                yield f"{follower.name} saw {entry.id}, which the log does not hold, and no reset after it"
            return
        if at != expected:
            due = job.log[expected].id if expected < len(job.log) else "nothing more"
            yield f"{follower.name} saw {entry.id} where {due} should come"
        elif entry.event != job.log[at].event:
            yield f"{follower.name} saw another event at {entry.id} than the log holds"
        expected = at + 1


def _runs(follower: Follower) -> Iterator[tuple[list[Entry], bool]]:
    """What was seen from one beginning to the next, and whether a reset then took it back."""
    run: list[Entry] = []
    for entry in follower.seen:
        if entry.event["type"] == "reset":
            yield run, True
            run = []
        else:
            run.append(entry)
    yield run, False


def views_are_dense(_: History, job: Job) -> Iterator[str]:
    """A client that checks ids finds no gap, also in a log that has been deleted since."""
    for follower in job.followers:
        for run, _taken_back in _runs(follower):
            before: Cursor | None = None
            for entry in run:
                cursor = Cursor.parse(entry.id or "")
                if before is None or cursor.fence > before.fence:
                    due = Cursor(cursor.fence, 0)
                else:
                    due = Cursor(before.fence, before.seq + 1)
                if cursor != due:
                    yield f"{follower.name} saw {cursor} where {due} should come"
                before = cursor


def followers_come_to_the_same(_: History, job: Job) -> Iterator[str]:
    """Who keeps following is told the ending, and then has, if it obeyed `attempt` and `reset`, what the log
    comes to."""
    if not job.exists:
        return
    truth = folded(job.log)
    for follower in job.followers:
        if not follower.finished:
            if follower.stays:
                yield f"{follower.name} kept coming back and was never told the ending"
            continue
        view = folded(follower.seen)
        if view.ending is None:
            yield f"{follower.name} was told that nothing more comes, but never saw an ending"
        elif (view.result(), view.ending) != (truth.result(), truth.ending):
            yield f"{follower.name} ended with another result than the log holds"


def nothing_is_seen_after_an_ending(_: History, job: Job) -> Iterator[str]:
    """The ending is the last event of a view."""
    for follower in job.followers:
        for run, _taken_back in _runs(follower):
            kinds = [entry.event["type"] for entry in run]
            if any(kind in ENDINGS for kind in kinds[:-1]):
                yield f"{follower.name} saw {run[-1].id} after an ending"


def folded(entries: list[Entry]) -> Fold:
    """What a client that obeys `attempt` and `reset` holds after these."""
    fold = Fold()
    for entry in entries:
        if entry.event["type"] == "reset":
            fold = Fold()
        else:
            fold.add(entry.event)
    return fold
