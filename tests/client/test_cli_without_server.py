"""The command line where only the client is installed."""

from __future__ import annotations

import subprocess
import sys

#: Runs the command line in a Python that lacks a package, as after `pip install tokentail`.
WITHOUT_REDIS = """
import sys
sys.modules["redis"] = None
sys.argv = ["tokentail", *sys.argv[1:]]
from tokentail.cli import main
main()
"""


def test_a_command_of_the_server_says_what_to_install() -> None:
    # Given an environment without redis; When somebody starts a worker there
    command = [sys.executable, "-c", WITHOUT_REDIS, "worker"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    # Then one sentence says what is missing and how to get it
    assert said.returncode == 2
    sentence = "tokentail: redis is missing; install what a server needs: pip install 'tokentail[server]'\n"
    assert said.stderr.replace("redis.asyncio", "redis") == sentence


def test_a_command_of_the_client_works_all_the_same() -> None:
    # Given the same environment; When somebody asks for a job of a server that is not there
    command = [sys.executable, "-c", WITHOUT_REDIS, "get", "job_x", "--url", "http://127.0.0.1:1"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    # Then that is what it says
    assert "No tokentail server can be reached at http://127.0.0.1:1" in said.stderr
