"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench import cpu, first_token, pickup, report
from bench.effort import FULL, QUICK, Effort
from bench.machine import machine
from bench.stack import Stack

_RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, and print what came out."""
    options = _options()
    stack = Stack(QUICK if options.quick else FULL).start()
    try:
        facts, rows, notes = _measure(stack, QUICK if options.quick else FULL)
    finally:
        stack.close()
    text = report.markdown(facts, rows, notes)
    if options.save:
        _RESULTS.mkdir(exist_ok=True)
        name = f"{datetime.now(UTC):%Y-%m-%d}.md"
        (_RESULTS / name).write_text(f"# Benchmark of {name.removesuffix('.md')}\n\n{text}")
    if options.json:
        print(_json(facts, rows, notes))
    else:
        print(text, end="")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure tokentail beside the plain ways."
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of seconds; its numbers mean nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--save", action="store_true", help="also write the table to bench/results/<date>.md")
    return parser.parse_args()


def _measure(stack: Stack, effort: Effort) -> tuple[dict[str, str], list[report.Row], list[str]]:
    facts = machine(stack.redis_url)
    _progress("first token")
    parts = [first_token.measure(stack, effort)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _progress("worker CPU")
        parts.append(runner.run(cpu.measure(stack, effort)))
        _progress("pickup")
        parts.insert(1, runner.run(pickup.measure(stack, effort)))
    rows = [row for part, _ in parts for row in part]
    return facts, rows, [note for _, part in parts for note in part]


def _progress(what: str) -> None:
    print(f"measuring {what} ...", file=sys.stderr, flush=True)


def _json(facts: dict[str, str], rows: list[report.Row], notes: list[str]) -> str:
    whole: dict[str, Any] = {"machine": facts, "rows": [row.as_json() for row in rows], "notes": notes}
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode()


if __name__ == "__main__":
    main()
