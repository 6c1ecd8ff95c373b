"""The leash: what is on it ends with its parent, however that ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from processes import Running, is_alive, until

from tokentail.stack import leash

PARENT = """
import signal, subprocess, sys
from tokentail.stack.leash import leashed
command = leashed([sys.executable, "-c", "import signal; print('alive', flush=True); signal.pause()"])
if sys.argv[1] == "elsewhere":
    # The same program, made to believe that its kernel has no PR_SET_PDEATHSIG.
    start = "import sys, runpy; sys.platform = 'elsewhere'; sys.argv = sys.argv[1:]; " \\
            "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [command[0], "-I", "-c", start, *command[3:]]
print("child", subprocess.Popen(command).pid, flush=True)
signal.pause()
"""


@pytest.fixture(params=["here", "elsewhere"])
def parent(request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running([sys.executable, "-c", PARENT, request.param])
    yield running
    running.close()


def test_what_is_on_the_leash_ends_when_its_parent_is_killed(parent: Running) -> None:
    child = int(parent.wait_for(r"child (\d+)")[1])
    parent.wait_for("alive")
    assert is_alive(child)

    parent.process.kill()

    until(lambda: not is_alive(child), "the child has ended")


def test_the_command_takes_the_place_of_the_leash() -> None:
    with subprocess.Popen(
        leash.leashed([sys.executable, "-c", "import os; print(os.getpid())"]),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.communicate()[0] == f"{process.pid}\n"


def test_a_command_that_does_not_exist_is_one_line() -> None:
    answer = subprocess.run(leash.leashed(["/nowhere/at-all"]), capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == "/nowhere/at-all: No such file or directory\n"
