"""`tokentail up`, the real thing: one command, and everything is there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import (
    PATIENCE_SECONDS,
    TOKENTAIL,
    Running,
    children_of,
    command_of,
    environment_of,
    is_alive,
    until,
)

READY = r"tokentail is ready at (http://127\.0\.0\.1:\d+)"
Start = Callable[..., Running]


@dataclass(frozen=True)
class Stack:
    """A running `tokentail up`."""

    running: Running
    directory: Path
    url: str
    #: The two lines it printed for trying it.
    try_it: str


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of all tests that leave it running."""
    directory = tmp_path_factory.mktemp("up")
    running = Running([TOKENTAIL, "up", "--port", "0", "--lease-seconds", "1"], cwd=directory)
    try:
        url = running.wait_for(READY)[1]
        lines = [running.wait_for(start).string for start in ("job=", "curl -N")]
        yield Stack(running, directory, url, "\n".join(lines))
    finally:
        running.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts stacks of this test's own, all in one directory, on free ports."""
    started: list[Running] = []

    def run(*options: str, **env: str) -> Running:
        started.append(Running([TOKENTAIL, "up", "--port", "0", *options], cwd=tmp_path, env=env))
        return started[-1]

    yield run
    for running in started:
        running.close()


def submit(url: str, model: str = "fast") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{url}/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(url: str, job: str) -> dict[str, Any]:
    answer = httpx.get(f"{url}/v1/jobs/{job}?wait=60", timeout=PATIENCE_SECONDS + 5)
    record: dict[str, Any] = answer.json()
    return record


def parts(running: Running) -> dict[int, str]:
    """The commands of its children, but for those that have yet to become theirs."""
    commands = {pid: command_of(pid) for pid in children_of(running.pid)}
    return {pid: command for pid, command in commands.items() if "tokentail up" not in command}


def child(running: Running, word: str) -> int:
    (pid,) = [pid for pid, part in parts(running).items() if re.search(rf"tokentail {word}\b", part)]
    return pid


def test_the_commands_it_prints_work_when_pasted(stack: Stack) -> None:
    answer = subprocess.run(
        ["sh", "-c", stack.try_it], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )

    assert "event: delta" in answer.stdout
    assert "event: completed" in answer.stdout


def test_the_doctor_finds_the_stack_and_is_content(stack: Stack) -> None:
    for options in ([], ["--worker"], ["--json"]):
        answer = subprocess.run(
            [TOKENTAIL, "doctor", *options], cwd=stack.directory, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stdout


def test_a_second_stack_on_the_same_data_is_refused_and_harms_nothing(stack: Stack) -> None:
    second = Running([TOKENTAIL, "up", "--port", "0"], cwd=stack.directory)

    assert second.wait() == 2
    assert "in use by another running tokentail stack" in second.said
    second.close()
    assert ended(stack.url, submit(stack.url))["status"] == "completed"


@pytest.mark.parametrize("word", ["api", "worker", "demo-provider"])
def test_a_killed_part_comes_back_and_jobs_run_again(word: str, stack: Stack) -> None:
    os.kill(child(stack.running, word), signal.SIGKILL)

    stack.running.wait_for(r"ended \(signal 9\), starting it again")

    def runs_a_job() -> bool:
        try:
            return bool(ended(stack.url, submit(stack.url))["status"] == "completed")
        except httpx.TransportError:
            return False

    until(runs_a_job, "a job completes")


def test_jobs_survive_ctrl_c_and_a_new_start(start: Start) -> None:
    # Given a stack with one job that has ended and one that runs.
    first = start("--drain-seconds", "0")
    url = first.wait_for(READY)[1]
    done = ended(url, submit(url))
    unfinished = submit(url, "slow-first-token")
    until(lambda: httpx.get(f"{url}/v1/jobs/{unfinished}").json()["status"] == "running", "the job runs")
    children = children_of(first.pid)
    assert len(children) == 4  # Redis, demo provider, API, worker.

    # When it is stopped: it exits cleanly and leaves nothing running.
    first.interrupt()
    assert first.wait() == 0
    assert not any(map(is_alive, children))
    assert "Stopped. The jobs are kept in .tokentail for the next start." in first.said

    # Then the next start has the result of the one, and finishes the other.
    url = start().wait_for(READY)[1]
    assert ended(url, done["id"])["result"] == done["result"]
    assert ended(url, unfinished)["status"] == "completed"


def test_only_workers_see_the_keys_of_the_providers(start: Start, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "model_list:\n"
        "  - model_name: mine\n"
        "    litellm_params: {model: openai/gpt-x, api_key: os.environ/MY_SECRET}\n"
    )
    keys = {"MY_SECRET": "s3cret", "OPENAI_API_KEY": "sk-1"}
    running = start("--models", "models.yaml", "--workers", "2", **keys)

    # A process has its environment from the start; nobody has to wait until it serves.
    until(lambda: str(parts(running)).count("tokentail worker") == 2, "both workers are started")

    assert len(parts(running)) == 4  # With Redis and the API; no demo provider beside a model list.
    for pid, command in parts(running).items():
        is_worker = "tokentail worker" in command
        seen = keys.keys() & environment_of(pid).keys()
        assert seen == (keys.keys() if is_worker else set()), command
