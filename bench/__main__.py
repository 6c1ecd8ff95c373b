"""The command line of the comparison."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

import uvloop

from bench import cpu, first_token, output, path, pickup
from bench.edge import effort as edge_effort
from bench.edge import fanout, idle, many, reconnect
from bench.edge.place import Place
from bench.effort import FULL, QUICK, Effort
from bench.machine import machine
from bench.report import Found
from bench.stack import Stack

#: With a worker and the demo provider.
_WHOLE = ("first-token", "pickup", "worker-cpu", "path")
_BESIDE_PROXY = {"first-token", "path"}
#: The follow edge alone, in the order in which it is measured.
_EDGE = {
    "idle": idle.measure,  # First: it needs an API that has done nothing else.
    "fanout": fanout.measure,
    "many": many.measure,
    "reconnect": reconnect.measure,
}


def main() -> None:
    """Measure, and print what came out."""
    options = _options()
    facts = machine()
    parts = options.parts or [*_WHOLE, *_EDGE]
    found = _whole(parts, options.quick) + _edge(parts, options.quick)
    rows = [row for part in found for row in part.rows]
    notes = [note for part in found for note in part.notes]
    # A run of some parts does not replace one of all.
    what = "".join(f"-{part}" for part in options.parts)
    pictures = [part.picture for part in found if part.picture]
    output.publish(options, what, facts, rows, notes, pictures=pictures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure tokentail beside the plain ways."
    )
    known = ", ".join([*_WHOLE, *_EDGE])
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"what to measure: {known}; all if none is named"
    )
    output.add_options(parser)
    options = parser.parse_args()
    if unknown := set(options.parts) - {*_WHOLE, *_EDGE}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {known}")
    return options


def _whole(parts: Sequence[str], quick: bool) -> list[Found]:
    if not set(parts) & set(_WHOLE):
        return []
    effort = QUICK if quick else FULL
    stack = Stack(effort, with_proxy=bool(set(parts) & _BESIDE_PROXY)).start()
    try:
        return [_measured(part, stack, effort) for part in parts if part in _WHOLE]
    finally:
        stack.close()


def _measured(part: str, stack: Stack, effort: Effort) -> Found:
    output.progress(part)
    if part == "first-token":
        return Found(*first_token.measure(stack, effort))
    if part == "path":
        return path.measure(stack, effort)
    measure = cpu.measure if part == "worker-cpu" else pickup.measure
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return Found(*runner.run(measure(stack, effort)))


def _edge(parts: Sequence[str], quick: bool) -> list[Found]:
    if not set(parts) & set(_EDGE):
        return []
    effort = edge_effort.QUICK if quick else edge_effort.FULL
    place = Place().start()
    try:
        return [measure(place, effort) for part, measure in _EDGE.items() if part in parts]
    finally:
        place.close()


if __name__ == "__main__":
    main()
