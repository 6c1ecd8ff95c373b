"""The reliability figures: the command runs and fills its table. What it measures is nobody's test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]

#: Far beyond a smoke run on a busy machine; a hang still ends.
PATIENCE_SECONDS = 300


def measured(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.reliability", *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def test_a_quick_run_prints_every_figure_beside_its_promise() -> None:
    # Given nothing but this environment; When a smoke run of all parts is made
    run = measured("--quick", "--json", "takeover", "cancel", "recovery", "soak", "--minutes", "0.05")
    assert run.returncode == 0, run.stderr
    report: dict[str, Any] = orjson.loads(run.stdout)
    # Then each part has its figures
    rows = {row["measure"]: row for row in report["rows"]}
    for name in (
        "takeover, lease 1 s, max",
        "takeover of 20 jobs, lease 1 s, survivors: 1, last job",
        "cancel, p99",
        "next delta after Redis's restart (SIGTERM), max",
        "next delta after Redis's restart (SIGKILL), max",
        "accepted submit after Redis's restart (SIGKILL), max",
        "API, growth in ten minutes",
        "worker, memory in the last minute",
    ):
        assert name in rows
    assert all(row["ours"] >= 0 for name, row in rows.items() if "growth" not in name)
    # And what was promised stands beside them
    assert rows["takeover, lease 1 s, max"]["aim"] == {"of": "value", "limit": 2.0}
    assert rows["cancel, p99"]["aim"] == {"of": "value", "limit": 100.0}
    # And each part says what its figures mean
    assert len(report["notes"]) == 4


def test_a_part_that_there_is_none_of_is_refused() -> None:
    # Given a typing error; Then it is named before anything is started
    refused = measured("recvery")
    assert refused.returncode == 2
    assert "recvery" in refused.stderr
