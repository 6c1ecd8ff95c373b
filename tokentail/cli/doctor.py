"""`tokentail doctor`: is everything there that jobs need?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokentail.cli.setting_options import DOCTOR, with_settings
from tokentail.cli.stack_settings import Data, settings_of

if TYPE_CHECKING:
    from tokentail.shared.settings import Settings
    from tokentail.stack.finding import Finding

#: Wider than any finding.
_UNCUT = 2000

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add `doctor`."""
    app.command()(doctor)


@with_settings(*DOCTOR)
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    worker: Annotated[
        bool, typer.Option("--worker", help="Only tell whether a worker of this host is alive.")
    ] = False,
    data: Data = Path(".tokentail"),
    **settings: str | None,
) -> None:
    """Check Redis, the model list and the workers. Exits with 1 if something is broken."""
    loaded = settings_of(settings, data)
    raise typer.Exit(_answer_for_worker(loaded) if worker else _report(loaded, as_json))


def _answer_for_worker(settings: Settings) -> int:
    from tokentail.stack.checkup import worker_is_alive  # noqa: PLC0415

    alive = worker_is_alive(settings)
    typer.echo("A worker of this host is alive." if alive else "No worker of this host is alive.")
    return 0 if alive else 1


def _report(settings: Settings, as_json: bool) -> int:
    from tokentail.stack.checkup import check_up  # noqa: PLC0415
    from tokentail.stack.finding import Verdict  # noqa: PLC0415

    findings = check_up(settings)
    healthy = all(finding.verdict is not Verdict.FAIL for finding in findings)
    if as_json:
        report = {"ok": healthy, "findings": [dataclasses.asdict(finding) for finding in findings]}
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(findings)
    return 0 if healthy else 1


def _print(findings: list[Finding]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict}[/]", finding.check, escape(finding.found))
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        # Whoever reads it there looks for lines; without a terminal they would be cut at 80 characters.
        console = Console(highlight=False, soft_wrap=True, width=_UNCUT)
    console.print(table)
    for finding in findings:
        if finding.advice:
            colour = _COLOURS[finding.verdict]
            console.print(
                f"\n[{colour}]{finding.check}[/]: {escape(finding.found)}. {escape(finding.advice)}"
            )
