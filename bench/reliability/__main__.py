"""The command line of the reliability figures."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import uvloop

from bench import output
from bench.machine import machine
from bench.reliability import cancel, recovery, soak, takeover
from bench.reliability.effort import FULL, QUICK, Effort
from bench.report import Row

_SOAK = "soak"
#: Measures, and returns rows and notes.
_Part = Callable[[Effort], Coroutine[Any, Any, tuple[list[Row], list[str]]]]

#: What is measured unless parts are named; a soak takes as long as it is told.
_PARTS: dict[str, _Part] = {
    "takeover": takeover.measure,
    "cancel": cancel.measure,
    "recovery": recovery.measure,
}


def main() -> None:
    """Measure, and print what came out."""
    options = _options()
    effort = QUICK if options.quick else FULL
    facts = machine()
    rows: list[Row] = []
    notes: list[str] = []
    parts: dict[str, _Part] = {**_PARTS, _SOAK: partial(soak.measure, minutes=options.minutes)}
    for name in options.parts or _PARTS:
        output.progress(name)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            more_rows, more_notes = runner.run(parts[name](effort))
        rows += more_rows
        notes += more_notes
    # Parts that are measured by themselves are saved by themselves.
    output.publish(options, "-".join(["", "reliability", *options.parts]), facts, rows, notes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.reliability", description="Measure how tokentail gets over trouble."
    )
    names = ", ".join([*_PARTS, _SOAK])
    parser.add_argument(
        "parts", nargs="*", type=_part, metavar="PART", help=f"what to measure: {names} (all but the soak)"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the soak (10)")
    output.add_options(parser)
    return parser.parse_args()


def _part(name: str) -> str:
    if name not in (*_PARTS, _SOAK):
        raise argparse.ArgumentTypeError(f"there is no part {name!r}")
    return name


if __name__ == "__main__":
    main()
