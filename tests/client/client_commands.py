"""Running the client commands as the processes that people run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scripted_logs import EVENTS, attempt, completed, delta, job, logged
from scripted_server import ScriptedServer, reply, stream

TOKENTAIL = str(Path(sys.executable).with_name("tokentail"))

#: Longer than any of them takes on a busy machine.
PATIENCE_SECONDS = 30

LOG = logged(attempt(), delta("Hello"), delta(", you"), completed())

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]


def start(server: ScriptedServer, *arguments: str, **options) -> subprocess.Popen[str]:
    """Start the command against the server."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "TOKENTAIL_URL": server.url, "TZ": "UTC"}
    return subprocess.Popen([TOKENTAIL, *arguments], env=environment, **{**pipes, **options})


def answer_in_full(server: ScriptedServer) -> None:
    """Give the server one job, which answers in full."""
    server.on("POST", "/v1/jobs", reply(202, job()))
    server.on("GET", "/v1/jobs/job_1", reply(200, job()))
    server.on(*EVENTS, stream(LOG))


def run_to_end(server: ScriptedServer, *arguments: str, typed: str | None = None) -> Ran:
    """Run the command; `typed` is piped in."""
    process = start(server, *arguments, stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE)
    stdout, stderr = process.communicate(typed, timeout=PATIENCE_SECONDS)
    assert "Traceback" not in stderr
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
