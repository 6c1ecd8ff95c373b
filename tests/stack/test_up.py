"""`tokentail up`, the real thing: one command, and everything is there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack_processes import (
    PATIENCE_SECONDS,
    TOKENTAIL,
    Running,
    children_of,
    command_of,
    environment_of,
    is_alive,
    until,
)

pytestmark = pytest.mark.skipif(find_spec("tokentail.api.server") is None, reason="there is no API yet")

READY = r"tokentail is ready at (http://127\.0\.0\.1:\d+)"
Up = Callable[..., Running]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Starts `tokentail up` on a free port in a directory of this test's own."""
    started: list[Running] = []

    def run(*options: str, **env: str) -> Running:
        started.append(Running([TOKENTAIL, "up", "--port", "0", *options], cwd=tmp_path, env=env))
        return started[-1]

    yield run
    for stack in started:
        stack.close()


def submit(url: str, model: str = "demo") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{url}/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(url: str, job: str) -> dict[str, Any]:
    answer = httpx.get(f"{url}/v1/jobs/{job}?wait=60", timeout=PATIENCE_SECONDS + 5)
    record: dict[str, Any] = answer.json()
    return record


def child(stack: Running, word: str) -> int:
    (pid,) = [pid for pid in children_of(stack.pid) if re.search(rf"tokentail {word}\b", command_of(pid))]
    return pid


def test_the_commands_it_prints_work_when_pasted(up: Up) -> None:
    stack = up()
    stack.wait_for(READY)
    first = stack.wait_for("job=").string
    second = stack.wait_for("curl -N").string

    answer = subprocess.run(
        ["sh", "-c", f"{first}\n{second}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )

    assert "event: delta" in answer.stdout
    assert "event: completed" in answer.stdout


def test_jobs_survive_stopping_and_starting_again(up: Up) -> None:
    stack = up()
    url = stack.wait_for(READY)[1]
    job = submit(url)
    before = ended(url, job)
    assert before["status"] == "completed"
    stack.interrupt()
    assert stack.wait() == 0

    url = up().wait_for(READY)[1]

    after = ended(url, job)
    assert after["result"] == before["result"]


def test_a_job_that_was_running_is_finished_by_the_next_start(up: Up) -> None:
    stack = up("--drain-seconds", "0")
    url = stack.wait_for(READY)[1]
    job = submit(url)
    until(lambda: httpx.get(f"{url}/v1/jobs/{job}").json()["status"] == "running", "the job runs")
    stack.interrupt()
    assert stack.wait() == 0

    url = up().wait_for(READY)[1]

    assert ended(url, job)["status"] == "completed"


def test_ctrl_c_leaves_no_process_and_exits_0(up: Up) -> None:
    stack = up("--workers", "2")
    stack.wait_for(READY)
    children = children_of(stack.pid)
    assert len(children) == 5  # Redis, demo provider, API, two workers.

    stack.interrupt()

    assert stack.wait() == 0
    assert not any(map(is_alive, children))
    assert "Stopped. The jobs are kept in .tokentail for the next start." in stack.said


def test_a_killed_stack_leaves_no_process_and_starts_again(up: Up) -> None:
    stack = up()
    job = submit(stack.wait_for(READY)[1])
    children = children_of(stack.pid)
    stack.process.kill()
    until(lambda: not any(map(is_alive, children)), "all children are gone")

    url = up().wait_for(READY)[1]

    assert ended(url, job)["status"] == "completed"


@pytest.mark.parametrize("word", ["api", "worker", "demo-provider"])
def test_a_killed_part_comes_back_and_jobs_run_again(word: str, up: Up) -> None:
    stack = up("--lease-seconds", "1")
    url = stack.wait_for(READY)[1]

    os.kill(child(stack, word), signal.SIGKILL)
    stack.wait_for(r"ended \(signal 9\), starting it again")

    def runs_a_job() -> bool:
        try:
            return bool(ended(url, submit(url))["status"] == "completed")
        except httpx.TransportError:
            return False

    until(runs_a_job, "a job completes")


def test_a_second_stack_on_the_same_data_is_refused(up: Up) -> None:
    up().wait_for(READY)

    second = up()

    assert second.wait() == 2
    assert "in use by another running tokentail stack" in second.said


def test_only_workers_see_the_keys_of_the_providers(up: Up, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "model_list:\n"
        "  - model_name: mine\n"
        "    litellm_params: {model: openai/gpt-x, api_key: os.environ/MY_SECRET}\n"
    )
    stack = up("--models", "models.yaml", MY_SECRET="s3cret", OPENAI_API_KEY="sk-1")
    stack.wait_for(READY)

    seen = {command_of(pid): environment_of(pid).keys() for pid in children_of(stack.pid)}

    assert len(seen) == 3  # No demo provider beside a model list.
    for command, names in seen.items():
        is_worker = "tokentail worker" in command
        assert ("MY_SECRET" in names, "OPENAI_API_KEY" in names) == (is_worker, is_worker), command


def test_the_doctor_finds_the_stack_and_is_content(up: Up, tmp_path: Path) -> None:
    up().wait_for(READY)

    for options in ([], ["--worker"], ["--json"]):
        answer = subprocess.run(
            [TOKENTAIL, "doctor", *options], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stdout
