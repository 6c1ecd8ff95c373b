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

MEASURES = {
    "first token, p50",
    "first token, p90",
    "pickup, idle, p50",
    "pickup, 20 in flight, p50",
    "whole path: CPU per token, beside plain FastAPI and litellm",
    "idle: memory per follower",
    "fan-out: API CPU per delivered event, beside a loop per follower",
    "fan-out: API CPU per delivered event, beside a bare write",
    "fan-out: delivery, p50",
    "fan-out: delivery, p99",
    "many logs: API CPU per delivered event",
    "many logs: Redis CPU per entry",
    "many logs, half load: delivery, p99",
    "reconnect, 20 followers of 1 job: Redis commands",
    "reconnect, 20 followers of 1 job: until all are live",
}


def test_a_quick_run_prints_every_measure_with_its_numbers() -> None:
    # Given nothing but this environment; When a smoke run is made
    command = [sys.executable, "-m", "bench", "--quick", "--json"]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert run.returncode == 0, run.stderr
    report: dict[str, Any] = orjson.loads(run.stdout)
    # Then all measures are there, with a figure for us and for each peer that needs no fetching
    measures = {row["measure"]: row for row in report["rows"]}
    assert measures.keys() >= MEASURES
    assert sum(measure.startswith("worker CPU per token") for measure in measures) == 2
    assert all(row["ours"] >= 0 and (row["peer"] is None or row["peer"] > 0) for row in report["rows"])
    # And a line for each peer that could not be had, as every peer is either measured or missed
    for peer in ("nchan", "resumable-stream", "the LiteLLM proxy"):
        is_measured = any(peer in measure for measure in measures)
        assert is_measured != any(peer in note for note in report["notes"] if note.startswith("Skipped"))
    # And where and with what it was measured
    assert {"date", "machine", "Python", "Redis", "packages"} <= report["machine"].keys()


def test_a_quick_run_is_not_kept_beside_those_that_mean_something() -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--save", "reconnect"]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert run.returncode == 2
    assert "not allowed with" in run.stderr
