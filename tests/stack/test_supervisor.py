"""The supervisor: up from the bottom, down from the top, nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Running, children_of, is_alive, until

from tokentail.stack.redis_server import RedisServer

SMALL_STACK = str(Path(__file__).with_name("small_stack.py"))

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a stack of stand-ins: `start("api=serve", "worker=stubborn")`."""
    started: list[Running] = []

    def run(*children: str) -> Running:
        started.append(Running([sys.executable, SMALL_STACK, str(tmp_path), *children]))
        return started[-1]

    yield run
    for stack in started:
        stack.close()


def pid_of(stack: Running, name: str) -> int:
    return int(stack.wait_for(rf"^{name} is (\d+)$")[1])


def test_ctrl_c_ends_every_process_and_exits_0(start: Start) -> None:
    stack = start("api=serve", "worker=serve")
    stack.wait_for("all ready")
    children = children_of(stack.pid)
    assert len(children) == 4

    stack.interrupt()

    assert stack.wait() == 0
    assert not any(map(is_alive, children))


def test_sigterm_does_the_same(start: Start) -> None:
    stack = start("api=serve")
    stack.wait_for("all ready")

    stack.process.terminate()

    assert stack.wait() == 0


def test_those_who_serve_end_before_the_provider_and_redis_ends_last(start: Start, tmp_path: Path) -> None:
    stack = start("api=serve")
    stack.wait_for("all ready")

    stack.interrupt()
    stack.wait()

    ended = [tmp_path / "logs/api.log", tmp_path / "logs/provider.log", tmp_path / "redis/redis.log"]
    assert all("ended" in log.read_text() for log in ended[:2])
    assert "ready to exit, bye bye" in ended[2].read_text()
    times = [log.stat().st_mtime_ns for log in ended]
    assert times == sorted(times)


def test_a_signal_while_it_starts_ends_it_just_as_cleanly(start: Start) -> None:
    stack = start("api=serve")
    until(lambda: bool(children_of(stack.pid)), "the first child is there")
    children = children_of(stack.pid)

    stack.interrupt()

    assert stack.wait() == 0
    assert not any(map(is_alive, children))


def test_a_second_ctrl_c_does_not_wait_for_a_child_that_drains(start: Start) -> None:
    stack = start("worker=stubborn")
    worker = pid_of(stack, "worker")
    stack.wait_for("all ready")
    stack.interrupt()
    stack.wait_for("^Stopping")
    assert is_alive(worker)

    stack.interrupt()

    assert stack.wait() == 0
    assert not is_alive(worker)


def test_children_do_not_share_the_terminal_of_the_supervisor(start: Start) -> None:
    stack = start("api=serve")
    stack.wait_for("all ready")

    assert all(os.getsid(child) != os.getsid(stack.pid) for child in children_of(stack.pid))


def test_a_killed_supervisor_leaves_no_child_and_can_be_started_again(start: Start) -> None:
    stack = start("api=serve", "worker=stubborn")
    stack.wait_for("all ready")
    children = children_of(stack.pid)

    stack.process.kill()
    stack.wait()

    until(lambda: not any(map(is_alive, children)), "all children are gone")
    start("api=serve").wait_for("all ready")


def test_a_killed_child_is_started_again(start: Start, tmp_path: Path) -> None:
    stack = start("worker=serve")
    worker = pid_of(stack, "worker")
    stack.wait_for("all ready")

    os.kill(worker, signal.SIGKILL)

    stack.wait_for(r"^worker: ended \(signal 9\), starting it again; see .*/logs/worker\.log")
    log = tmp_path / "logs/worker.log"
    until(lambda: log.read_text().count("ready") == 2, "another worker is ready")
    stack.interrupt()
    assert stack.wait() == 0


def test_a_killed_redis_is_started_again(start: Start) -> None:
    stack = start("worker=serve")
    redis = pid_of(stack, "redis")

    os.kill(redis, signal.SIGKILL)

    stack.wait_for("^redis: ended, starting it again")
    until(lambda: len(children_of(stack.pid)) == 3, "Redis is back")
    stack.interrupt()
    assert stack.wait() == 0


def test_a_child_that_keeps_dying_ends_the_stack_with_its_last_words(start: Start, tmp_path: Path) -> None:
    stack = start("api=serve", "worker=broken")

    assert stack.wait() == 1
    assert "failed: worker ended 5 times in a row: no such setting (see " in stack.said
    RedisServer(tmp_path / "redis").lock().close()  # Free, so Redis is gone too.


def test_a_child_that_refuses_its_settings_is_not_tried_again(start: Start) -> None:
    stack = start("api=serve", "worker=misconfigured")

    assert stack.wait() == 1
    assert "failed: worker ended at start: TOKENTAIL_X: is wrong" in stack.said
