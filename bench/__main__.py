"""The command line of the comparison."""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from bench import cpu, first_token, output, pickup, report
from bench.effort import FULL, QUICK, Effort
from bench.machine import machine
from bench.stack import Stack


def main() -> None:
    """Measure, and print what came out."""
    options = _options()
    effort = QUICK if options.quick else FULL
    stack = Stack(effort).start()
    try:
        facts, rows, notes = _measure(stack, effort)
    finally:
        stack.close()
    output.publish(options, "", facts, rows, notes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure tokentail beside the plain ways."
    )
    output.add_options(parser)
    return parser.parse_args()


def _measure(stack: Stack, effort: Effort) -> tuple[dict[str, str], list[report.Row], list[str]]:
    facts = machine()
    output.progress("first token")
    parts = [first_token.measure(stack, effort)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        output.progress("worker CPU")
        parts.append(runner.run(cpu.measure(stack, effort)))
        output.progress("pickup")
        parts.insert(1, runner.run(pickup.measure(stack, effort)))
    rows = [row for part, _ in parts for row in part]
    return facts, rows, [note for _, part in parts for note in part]


if __name__ == "__main__":
    main()
