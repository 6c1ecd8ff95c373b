"""What the command line of chaos says, without a run."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
from breakages import survivor
from histories import good_history
from rich.console import Console

from chaos import report
from chaos.checker import check
from chaos.figures import Figures
from chaos.plan import plan

ROOT = Path(__file__).parents[2]


def chaos(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chaos", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_schedule_can_be_read_without_being_run() -> None:
    # Given some seeds; When they are to be shown
    shown = chaos("--seeds", "3,5-6", "--seconds", "10", "--show")
    # Then each schedule is there as it would be carried out
    assert shown.returncode == 0
    assert shown.stdout == "\n\n".join(str(plan(seed, 10)) for seed in (3, 5, 6)) + "\n"


def test_a_fault_that_there_is_none_of_is_refused() -> None:
    # Given a typing error; Then it is named
    refused = chaos("--faults", "worker-kil,redis-klil", "--show")
    assert refused.returncode == 2
    assert "redis-klil" in refused.stderr


def test_a_violation_comes_with_its_seed_its_schedule_and_all_the_evidence(tmp_path: Path) -> None:
    # Given a run that broke a promise
    history, schedule = good_history(), plan(7, 10)
    del survivor(history).log[2]
    violations = check(history)
    # When it is reported
    console = Console(width=200, record=True, file=io.StringIO())
    report.evidence(console, schedule, violations, tmp_path)
    report.save(tmp_path / "seed-7", schedule, history, violations)
    # Then what was broken, the seed and the schedule can be read
    said = console.export_text()
    for what in ("seed 7", "[sequences_are_dense]", survivor(history).id, str(schedule), str(tmp_path)):
        assert what in said
    # And the history has been written down
    written = orjson.loads((tmp_path / "seed-7" / "history.json").read_bytes())
    assert written["jobs"].keys() == history.jobs.keys()
    assert (tmp_path / "seed-7" / "schedule.txt").read_text() == f"{schedule}\n"


def test_figures_count_what_was_observed() -> None:
    # Given a history of five jobs
    history, schedule = good_history(), plan(7, 10)
    # When its figures are taken, twice
    figures = Figures()
    for _ in range(2):
        figures.add(Figures.of(schedule, history, Counter(resets=1), seconds=3.0))
    # Then they say what is in it
    assert (figures.schedules, figures.jobs, figures.seconds) == (2, 10, 6.0)
    endings = {"completed": 4, "cancelled": 2, "failed: idle_timeout": 2, "deleted": 2}
    assert figures.endings == endings
    assert figures.attempts == {"start": 6, "lost": 2}
    assert figures.tokens == 2 * (3 + 20 + 9 + 3)
    assert figures.clients == {"resets": 2}
    assert "4 completed" in report.line(schedule, figures)
    # And they can be written as JSON
    assert orjson.loads(orjson.dumps(figures.as_json()))["endings"] == endings
