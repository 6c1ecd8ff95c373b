"""Whatever a correct installation does, the checker is content; whatever is done to a log, it is not."""

from __future__ import annotations

from collections.abc import Callable

from breakages import altered
from histories import CANCELLED, Installation, Said, incident
from hypothesis import given
from hypothesis import strategies as st

from chaos.checker import check
from chaos.faults import WORKER_DEPLOY, WORKER_KILL
from chaos.history import Entry, History, Job
from chaos.scenarios import SCENARIOS, answer
from tokentail.shared.cursor import Cursor

MODELS = st.sampled_from(["quick", "tool-calls", "whole-calls", "flaky"])
REASONS = st.sampled_from(["lost", "retry", "handoff"])


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A correct run: jobs with any number of attempts, broken off anywhere, then completed or cancelled."""
    made = Installation()
    made.history.incidents = [incident(WORKER_KILL), incident(WORKER_DEPLOY)]
    for _ in range(draw(st.integers(1, 3))):
        model = draw(MODELS)
        whole = len(answer(SCENARIOS[model].model, "0" * 12).deltas)
        attempts = [Said(draw(st.integers(0, whole)), draw(REASONS)) for _ in range(draw(st.integers(0, 3)))]
        if attempts and draw(st.booleans()):
            attempts[-1].deltas = whole
            made.job(model, attempts)
        else:
            made.job(model, attempts, CANCELLED, cancel_asked=True)
    return made.history


def renumbered(log: list[Entry]) -> list[Entry]:
    """The same events under ids without a gap: a breakage that no id betrays."""
    counts: dict[int, int] = {}
    entries = []
    for entry in log:
        fence = Cursor.parse(entry.id or "").fence
        entries.append(Entry(f"{fence}-{counts.get(fence, 0)}", entry.event))
        counts[fence] = counts.get(fence, 0) + 1
    return entries


def drop(log: list[Entry], at: int) -> list[Entry]:
    return log[:at] + log[at + 1 :]


def double(log: list[Entry], at: int) -> list[Entry]:
    return [*log[: at + 1], *log[at:]]


def swap(log: list[Entry], at: int) -> list[Entry]:
    """With the one before it; the first entry with the last."""
    log[at - 1], log[at] = log[at], log[at - 1]
    return log


def alter(log: list[Entry], at: int) -> list[Entry]:
    event = log[at].event
    changes = {"attempt": event.get("attempt", 0) + 1, "content": "foreign ", "finish_reason": "none"}
    known = {name: value for name, value in changes.items() if name in event} or {"reason": "none"}
    log[at] = altered(log[at], **known)
    return log


def add_behind(log: list[Entry], at: int) -> list[Entry]:
    """Once more, behind the ending, under the id that comes next."""
    fence, seq = Cursor.parse(log[-1].id or "")
    return [*log, Entry(f"{fence}-{seq + 1}", log[at].event)]


MUTATIONS = st.sampled_from([drop, double, swap, alter, add_behind])


@given(histories())
def test_a_history_of_a_correct_installation_has_no_violation(history: History) -> None:
    assert check(history) == []


@given(histories(), MUTATIONS, st.booleans(), st.data())
def test_any_single_mutation_of_a_log_is_noticed(
    history: History,
    mutation: Callable[[list[Entry], int], list[Entry]],
    hide: bool,
    data: st.DataObject,
) -> None:
    # Given a correct history, of which everybody has seen what they saw
    job: Job = data.draw(st.sampled_from(list(history.jobs.values())))
    at = data.draw(st.integers(0, len(job.log) - 1))
    # When one entry of one log is dropped, doubled, swapped, altered or repeated behind the ending, and the
    # ids are perhaps made to look right again
    mutated = mutation(list(job.log), at)
    if hide:
        mutated = renumbered(mutated)
    if mutated == job.log:
        return  # A swap with itself, or of two events that are alike.
    job.log = mutated
    # Then it is noticed
    assert check(history) != []
