"""Sides that take turns: whatever else the machine does hits all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from bench import output
from bench.edge.bout import Outcome, bout
from bench.edge.place import Place
from bench.edge.plan import Plan
from bench.edge.side import Side
from bench.report import Aim, Row


class Rounds:
    """The outcomes of all sides, and what is to be said of them."""

    def __init__(self, what: str, ours: str) -> None:
        self.what = what
        self.ours = ours
        self.outcomes: dict[str, list[Outcome]] = {}
        self._spoiled: list[str] = []

    def run(self, place: Place, sides: Sequence[Side], plan: Plan) -> None:
        """One turn of each."""
        for side in sides:
            its = self.outcomes.setdefault(side.name, [])
            output.progress(f"{self.what}, round {len(its) + 1}: {side.name}")
            outcome = bout(place, side, side.part_of(plan))
            if outcome.spoiled:
                self._spoiled.append(f"{side.name}: {outcome.spoiled}")
            else:
                its.append(outcome)

    @property
    def peers(self) -> list[str]:
        """The names of the others."""
        return [name for name in self.outcomes if name != self.ours]

    def median(self, name: str, figure: Callable[[Outcome], float]) -> float | None:
        """Of a side's rounds; None if none of them counts."""
        its = self.outcomes.get(name)
        return median(map(figure, its)) if its else None

    def row(
        self,
        measure: str,
        unit: str,
        figure: Callable[[Outcome], float],
        peer: str = "",
        aim: Aim | None = None,
        *,
        of: str = "",
    ) -> Row | None:
        """The medians, beside a peer's if it has any; None if none of our rounds counts. `of`: ours, but
        another side than the first."""
        name = of or self.ours
        ours, others = self.median(name, figure), self.median(peer, figure)
        if ours is None:
            return None
        counts = [len(self.outcomes[name])]
        if others is not None:
            counts.append(len(self.outcomes[peer]))
        what = f"{self.what}, {of} beside the native stream" if of else self.what
        return Row(f"{what}: {measure}", unit, ours, others, tuple(counts), aim)

    def notes(self) -> list[str]:
        """What each round has shown, and which had to be left out."""
        notes = [_note(f"{self.what}, {name}", its) for name, its in self.outcomes.items() if its]
        return notes + [f"{self.what}, a round left out: {why}." for why in self._spoiled]


def cpu(outcome: Outcome) -> float:
    """What an event cost the server."""
    return outcome.cpu_us


def _note(what: str, outcomes: Sequence[Outcome]) -> str:
    costs = ", ".join(f"{outcome.cpu_us:.1f}" for outcome in outcomes)
    waits = ", ".join(f"{outcome.waits['server']:.0%}" for outcome in outcomes)
    last = outcomes[-1]
    shares = ", ".join(f"{part} {share:.0%} + {last.waits[part]:.0%}" for part, share in last.shares.items())
    return (
        f"{what[:1].upper()}{what[1:]}: {costs} µs per delivered event in each round; the server was ready "
        f"to run but had no core for {waits} of the time. Core used in the last, and waited for: {shares}."
    )
