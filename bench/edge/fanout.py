"""Fan-out: a thousand followers of one job at a reader's pace."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench import output
from bench.edge.bout import Outcome, bout
from bench.edge.cores import NOTE
from bench.edge.effort import EdgeEffort
from bench.edge.place import Place
from bench.edge.side import Side
from bench.report import Aim, Row

_RATE = 30.0


def measure(place: Place, effort: EdgeEffort) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    sides = [place.ours]
    outcomes: dict[str, list[Outcome]] = {side.name: [] for side in sides}
    spoiled = []
    for number in range(effort.rounds):
        for side in sides:
            output.progress(f"fan-out {number + 1} of {effort.rounds}: {side.name}")
            outcome = _bout(place, side, effort)
            if outcome.spoiled:
                spoiled.append(f"{side.name}: {outcome.spoiled}")
            else:
                outcomes[side.name].append(outcome)
    return _rows(outcomes[place.ours.name], effort), [NOTE, *_notes(outcomes, spoiled)]


def _bout(place: Place, side: Side, effort: EdgeEffort) -> Outcome:
    followers = max(1, round(effort.followers * side.share))
    return bout(place, side, logs=1, followers=followers, rate=_RATE, seconds=effort.seconds)


def _rows(ours: Sequence[Outcome], effort: EdgeEffort) -> list[Row]:
    if not ours:
        return []
    what = f"fan-out, {effort.followers} followers of 1 job at {_RATE:.0f}/s"
    n = (len(ours),)
    return [
        Row(f"{what}: API CPU per delivered event", "µs", median(o.cpu_us for o in ours), None, n),
        Row(f"{what}: delivery p50", "ms", median(o.p50_ms for o in ours), None, n, Aim("value", 5)),
        Row(f"{what}: delivery p99", "ms", median(o.p99_ms for o in ours), None, n, Aim("value", 25)),
        Row(f"{what}: Redis connections", "", max(o.connections for o in ours), None, n, Aim("value", 5)),
        Row(f"{what}: reading commands per entry", "", median(_per_entry(o, effort) for o in ours), None, n),
    ]


def _per_entry(outcome: Outcome, effort: EdgeEffort) -> float:
    return outcome.reading / (outcome.events / effort.followers)


def _notes(outcomes: dict[str, list[Outcome]], spoiled: Sequence[str]) -> list[str]:
    notes = []
    for name, its in outcomes.items():
        if its:
            costs = ", ".join(f"{outcome.cpu_us:.1f}" for outcome in its)
            shares = ", ".join(f"{part} {share:.0%}" for part, share in its[-1].shares.items())
            notes.append(f"Fan-out, {name}: {costs} µs per event in each round; cores used: {shares}.")
    return notes + [f"Fan-out, a round left out: {why}." for why in spoiled]
