"""What the client commands print. The model's text, and nothing else, goes to stdout as it comes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import typer

if TYPE_CHECKING:
    from tokentail.client import Entry, Job, Restarted, Result
    from tokentail.shared.events import Delta

#: What a model writes may move a terminal's cursor, set its title or worse. Tab and line feed may stay.
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def note(text: str, *, dim: bool = True) -> None:
    """Say something on stderr, on a line of its own."""
    typer.secho(text, dim=dim, err=True)


class Printer:
    """Shows a generation as it comes: its text on stdout, all that is said about it on stderr.

    On a terminal the two are one text, so neither may go on in the middle of the other's line.
    """

    def __init__(self) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._text_open = False
        self._aside_open = False

    def show(self, item: Delta | Restarted) -> None:
        """Show the next item."""
        if not isinstance(item, dict):
            self.end_lines()
            note(f"— {_why(item)}; the answer begins again —")
            return
        if reasoning := item.get("reasoning"):
            self._aside(reasoning)
        if text := item.get("content") or item.get("refusal"):
            self._text(text)

    def show_whole(self, result: Result) -> None:
        """Show a result of which nothing has been shown yet."""
        if said := result.text or result.refusal:
            self._text(said)
        self.finish(result)

    def finish(self, result: Result) -> None:
        """Show what is only known whole: the tool calls, and why the model stopped if that matters."""
        self.end_lines()
        for call in result.tool_calls:
            note(f"tool call {call['name']}({call['arguments']})".translate(_CONTROLS), dim=False)
        if result.finish_reason == "length":
            note("The answer was cut off: it reached the limit of tokens.")
        elif result.finish_reason == "content_filter":
            note("The answer was cut off by the provider's content filter.")

    def break_off(self) -> None:
        """Leave the text as it is, but let what is said next begin on a line of its own."""
        if self._on_terminal or self._aside_open:
            self.end_lines()

    def end_lines(self) -> None:
        """Finish the lines that are not."""
        if self._aside_open:
            print(file=sys.stderr)
        if self._text_open:
            print(flush=True)
        self._aside_open = self._text_open = False

    def _text(self, text: str) -> None:
        if self._aside_open:
            print(file=sys.stderr)
            self._aside_open = False
        sys.stdout.write(text.translate(_CONTROLS) if self._on_terminal else text)
        sys.stdout.flush()
        self._text_open = not text.endswith("\n")

    def _aside(self, reasoning: str) -> None:
        if self._text_open and self._on_terminal:
            print(flush=True)
            self._text_open = False
        typer.secho(reasoning.translate(_CONTROLS), dim=True, err=True, nl=False)
        self._aside_open = not reasoning.endswith("\n")


def _why(restarted: Restarted) -> str:
    if restarted.attempt is None:
        return "the place in the log was lost"
    reasons = {
        "retry": "the provider failed",
        "lost": "the worker was lost",
        "handoff": "the worker was stopped",
    }
    return f"attempt {restarted.attempt}: {reasons.get(restarted.reason, restarted.reason)}"


def print_entry(entry: Entry) -> None:
    """Print an event as one line of JSON with its id first."""
    print_json({"id": str(entry.cursor) if entry.cursor else None, **entry.event})


def print_json(value: Mapping[str, Any], *, pretty: bool = False) -> None:
    """Print JSON, on one line unless it is to be read by a person."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 if pretty else 0).decode() + "\n")
    sys.stdout.flush()


def print_job(job: Job) -> None:
    """Print all that a person wants to know of a job."""
    facts = {
        "job": job.id,
        "status": job.status,
        "model": job.model,
        "attempt": job.attempt or None,
        "created": _time(job.created_at),
        "started": _time(job.started_at),
        "ended": _time(job.ended_at),
        "cursor": job.cursor,
        "tokens": _tokens(job),
        "cost": None if job.cost_usd is None else f"${job.cost_usd:.6f}",
        "metadata": ", ".join(f"{name}={value}" for name, value in job.metadata.items()),
        "error": job.error and f"{job.error['message']} ({job.error['code']})",
    }
    for name, value in facts.items():
        if value not in (None, ""):
            typer.echo(f"{typer.style(f'{name:9}', dim=True)} {str(value).translate(_CONTROLS)}")
    if job.result is None:
        return
    if said := job.text or job.result.refusal:
        typer.echo(f"\n{said.translate(_CONTROLS)}")
    for call in job.result.tool_calls:
        typer.echo(f"\ntool call {call['name']}({call['arguments']})".translate(_CONTROLS))


def print_jobs(jobs: Iterable[Job]) -> None:
    """Print a table, one job per line."""
    from rich.console import Console  # noqa: PLC0415 - only `list` draws a table
    from rich.table import Table  # noqa: PLC0415

    table = Table("job", "status", "model", "created", "attempt", box=None, pad_edge=False)
    for job in jobs:
        table.add_row(job.id, job.status, job.model, _time(job.created_at), str(job.attempt))
    # An id is there to be copied, and a table to be cut up by programs: no cell is ever shortened.
    Console(markup=False, highlight=False, width=1000).print(table)


def _tokens(job: Job) -> str | None:
    if job.usage is None:
        return None
    usage = job.usage
    estimated = ", estimated" if usage.get("source") == "estimated" else ""
    return f"{usage['prompt_tokens']} in, {usage['completion_tokens']} out{estimated}"


def _time(written: str | None) -> str:
    if written is None:
        return ""
    return datetime.fromisoformat(written).astimezone().strftime("%Y-%m-%d %H:%M:%S")
