"""The command line of chaos."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console

from chaos import faults, report
from chaos.checker import check
from chaos.figures import Figures
from chaos.installation import Installation
from chaos.plan import Plan, plan
from chaos.run import run

#: The console of a pipe is 80 columns wide to rich; a line per seed needs more.
_COLUMNS = 200

#: As shells write 128 + SIGINT.
_INTERRUPTED = 130


def main() -> int:
    """Run every seed, say what came out, and return 1 if any promise was broken, 130 if it was stopped."""
    options = _options()
    plans = [
        plan(
            seed,
            options.seconds,
            workers=options.workers,
            apis=options.apis,
            kinds=options.faults,
            intensity=options.intensity,
        )
        for seed in options.seeds
    ]
    if options.show:
        print("\n\n".join(str(one) for one in plans))
        return 0
    # Told to stop, we still end what we have started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="tokentail-chaos-"))
    try:
        figures = asyncio.run(_run(plans, folder, options))
    except KeyboardInterrupt:
        print(f"stopped; the processes' logs: {folder}", file=sys.stderr)
        return _INTERRUPTED
    if options.json:
        options.json.write_bytes(orjson.dumps(figures.as_json(), option=orjson.OPT_INDENT_2))
    if options.keep is None and not figures.violations:
        shutil.rmtree(folder)
    return 1 if figures.violations else 0


async def _run(plans: Sequence[Plan], folder: Path, options: argparse.Namespace) -> Figures:
    console = Console(width=None if sys.stdout.isatty() else _COLUMNS)
    whole = Figures()
    installation = Installation(folder, workers=options.workers, apis=options.apis)
    try:
        await installation.start()
        for one in plans:
            history, figures = await run(installation, one)
            violations = check(history)
            figures.violations = len(violations)
            console.print(report.line(one, figures), highlight=False)
            if violations:
                report.save(folder / f"seed-{one.seed}", one, history, violations)
                report.evidence(console, one, violations, folder)
            whole.add(figures)
    finally:
        await installation.stop()
    console.print(report.table(whole))
    return whole


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Break everything by a schedule and check every promise."
    )
    parser.add_argument("--seeds", type=_seeds, default=_seeds("1-5"), help="as in 7 or 1-20 or 1,4,9-12")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a schedule (20)")
    parser.add_argument("--intensity", type=float, default=1.0, help="times the usual jobs and faults (1)")
    parser.add_argument("--workers", type=_at_least_one, default=2, help="worker processes (2)")
    parser.add_argument("--apis", type=_at_least_one, default=2, help="API processes (2)")
    parser.add_argument(
        "--faults",
        type=_kinds,
        default=faults.ALL_FAULTS,
        help=f"kinds to inject, or how they begin: {', '.join(faults.ALL_FAULTS)}; `none` for load alone",
    )
    parser.add_argument("--show", action="store_true", help="print the schedules and run nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the processes' logs there in any case")
    return parser.parse_args()


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit() and int(first) <= int(last or first)):
            raise argparse.ArgumentTypeError("write seeds as in 7 or 1-20 or 1,4,9-12")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _at_least_one(text: str) -> int:
    if not (text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def _kinds(text: str) -> tuple[str, ...]:
    if text == "none":
        return ()
    beginnings = tuple(text.split(","))
    kinds = tuple(kind for kind in faults.ALL_FAULTS if kind.startswith(beginnings))
    for one in beginnings:
        if not any(kind.startswith(one) for kind in kinds):
            raise argparse.ArgumentTypeError(f"there is no fault that begins with {one!r}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
