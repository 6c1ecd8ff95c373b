"""What people read of chaos: a line for each seed, a table at the end, the evidence of a violation."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from chaos.checker import Violation
from chaos.figures import Figures
from chaos.history import History
from chaos.plan import Plan

#: Violations that are printed of one seed; all of them stand in its folder.
_PRINTED = 12


def line(plan: Plan, figures: Figures) -> str:
    """One seed's run in one line."""
    verdict = f"{figures.violations} VIOLATIONS" if figures.violations else "no violation"
    ended = Counter(name.partition(":")[0] for name in figures.endings.elements())
    return (
        f"seed {plan.seed:<5} {sum(figures.faults.values()):>3} faults  {figures.jobs:>3} jobs "
        f"({', '.join(f'{number} {name}' for name, number in sorted(ended.items()))})  "
        f"{sum(figures.attempts.values())} attempts  {figures.tokens} tokens  "
        f"{figures.clients['reconnects']} reconnects  {figures.seconds:.0f} s  {verdict}"
    )


def table(figures: Figures) -> Table:
    """All runs together."""
    whole = Table(show_header=False)
    whole.add_column()
    whole.add_column()
    whole.add_row("schedules", f"{figures.schedules} in {figures.seconds:.0f} s")
    whole.add_row("faults", f"{sum(figures.faults.values())}: {_listed(figures.faults)}")
    whole.add_row("jobs", f"{figures.jobs}: {_listed(figures.endings)}")
    whole.add_row("scenarios", _listed(figures.scenarios))
    whole.add_row("attempts", f"{sum(figures.attempts.values())}: {_listed(figures.attempts)}")
    whole.add_row("tokens", f"{figures.tokens} in logs, {figures.provider_requests} requests to the provider")
    whole.add_row("clients", _listed(figures.clients))
    whole.add_row("violations", str(figures.violations))
    return whole


def evidence(console: Console, plan: Plan, violations: Sequence[Violation], folder: Path) -> None:
    """Say what was violated, by which schedule, and where the rest stands."""
    console.print(f"seed {plan.seed} breaks {len(violations)} promises:", style="bold red")
    for violation in violations[:_PRINTED]:
        console.print(f"  {violation}", markup=False, highlight=False)
    if len(violations) > _PRINTED:
        console.print(f"  … and {len(violations) - _PRINTED} more")
    console.print(str(plan), markup=False, highlight=False)
    console.print(f"history, schedule and the processes' logs: {folder}")


def save(folder: Path, plan: Plan, history: History, violations: Sequence[Violation]) -> None:
    """Write down all that a later look needs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedule.txt").write_text(f"{plan}\n")
    (folder / "violations.txt").write_text("".join(f"{violation}\n" for violation in violations))
    whole = orjson.dumps(dataclasses.asdict(history), default=_plain, option=orjson.OPT_INDENT_2)
    (folder / "history.json").write_bytes(whole)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()) if number)
