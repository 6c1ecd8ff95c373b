"""The benchmark runs and fills its table. What it measures is nobody's test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]

#: Far beyond a smoke run on a busy machine; a hang still ends.
PATIENCE_SECONDS = 300


def test_a_quick_run_prints_every_measure_with_its_numbers() -> None:
    # Given nothing but this environment; When a smoke run is made
    command = [sys.executable, "-m", "bench", "--quick", "--json"]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert run.returncode == 0, run.stderr
    report: dict[str, Any] = orjson.loads(run.stdout)
    # Then all three measures are there, with a positive figure for us and for each peer
    measures = [row["measure"] for row in report["rows"]]
    for name in ("first token, p50", "first token, p90", "pickup, idle, p50", "pickup, 20 in flight, p50"):
        assert name in measures
    assert sum(measure.startswith("worker CPU per token") for measure in measures) == 2
    assert all(row["ours"] > 0 and (row["peer"] is None or row["peer"] > 0) for row in report["rows"])
    # And where and with what it was measured
    assert {"date", "machine", "Python", "Redis", "packages"} <= report["machine"].keys()
