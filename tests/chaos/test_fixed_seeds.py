"""Everything is broken by schedules that stay the same, and every promise holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from processes import Running, children_of, is_alive, until

from chaos.faults import ALL_FAULTS
from chaos.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]

#: Together their schedules hold every kind of fault, and every scenario.
SCHEDULES = ("--seeds", "1-5", "--seconds", "15", "--intensity", "2")

#: A schedule, its healing and the last endings take less than a minute each; a hang still ends.
PATIENCE_SECONDS = 600


def test_no_promise_is_broken_whatever_is(tmp_path: Path) -> None:
    # Given schedules of load and faults; When they are carried out on real processes
    figures_path, folder = tmp_path / "figures.json", tmp_path / "chaos"
    command = [sys.executable, "-m", "chaos", *SCHEDULES]
    run = subprocess.run(
        [*command, "--json", str(figures_path), "--keep", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    # Then no promise was broken
    assert run.returncode == 0, run.stdout + run.stderr
    figures = orjson.loads(figures_path.read_bytes())
    assert figures["violations"] == 0
    # And every kind of fault was injected, and every scenario asked for
    assert set(figures["faults"]) == set(ALL_FAULTS)
    assert set(figures["scenarios"]) == set(SCENARIOS)
    # And clients have dropped, stalled, hammered, cancelled, deleted and asked again
    for what in (
        "cancels",
        "deletes",
        "drops by followers",
        "stalls of followers",
        "visits of hammering followers",
        "submits repeated",
    ):
        assert figures["clients"].get(what), what
    # And jobs have come back from lost workers and failed providers, and still many of them completed
    assert {"start", "retry", "lost"} <= set(figures["attempts"])
    assert figures["endings"]["completed"] > figures["jobs"] / 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    # Given a run whose processes have been started
    command = [sys.executable, "-m", "chaos", "--seeds", "1", "--keep", str(tmp_path)]
    run = Running(command, cwd=ROOT)
    until(lambda: len(children_of(run.pid)) == 6, "Redis, provider, two workers, two APIs")
    children = children_of(run.pid)
    # When it is killed, or told to stop
    os.kill(run.pid, number)
    # Then it ends, and so do they
    assert run.wait() in (-signal.SIGKILL, 130)
    until(lambda: not any(is_alive(child) for child in children), "all have gone")
    run.close()
