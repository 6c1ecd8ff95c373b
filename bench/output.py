"""Where the figures go: onto the screen, as a table or as JSON, and into a file if that is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import report
from bench.report import Row

_RESULTS = Path(__file__).parent / "results"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that measures."""
    # What is kept is quoted, and would replace what was measured in earnest on the same day.
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--quick", action="store_true", help="a smoke run of seconds; its numbers mean nothing"
    )
    either.add_argument(
        "--save", action="store_true", help="also write the table and its pictures into bench/results/"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def publish(
    options: argparse.Namespace,
    what: str,
    facts: Mapping[str, str],
    rows: Sequence[Row],
    notes: Sequence[str],
    *,
    pictures: Sequence[str] = (),
) -> None:
    """Print what came out, and save it as `<date><what>.md` if that was asked for, with its pictures."""
    text = report.markdown(facts, rows, notes)
    if options.save:
        _save(f"{datetime.now(UTC):%Y-%m-%d}", what, text, pictures)
    print(report.as_json(facts, rows, notes) + "\n" if options.json else text, end="")


def _save(day: str, what: str, text: str, pictures: Sequence[str]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures, 1):
        name = f"{day}{what}-{number}.svg"
        (_RESULTS / name).write_text(picture)
        text += f"\n![as a picture]({name})\n"
    (_RESULTS / f"{day}{what}.md").write_text(f"# Benchmark of {day}\n\n{text}")


def progress(what: str) -> None:
    """Say what is being done, beside the figures."""
    print(f"measuring {what} ...", file=sys.stderr, flush=True)
