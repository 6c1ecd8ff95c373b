"""Running the client commands as the processes that people run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scripted_logs import attempt, completed, delta, logged
from scripted_server import ScriptedServer

TOKENTAIL = str(Path(sys.executable).with_name("tokentail"))

#: Longer than any of them takes on a busy machine.
PATIENCE_SECONDS = 30

LOG = logged(attempt(), delta("Hello"), delta(", you"), completed())

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]


def start(server: ScriptedServer, *arguments: str, **options) -> subprocess.Popen[str]:
    """Start the command against the server."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {**os.environ, "TOKENTAIL_URL": server.url, "TZ": "UTC"}
    return subprocess.Popen([TOKENTAIL, *arguments], env=environment, text=True, **pipes)


def run_to_end(server: ScriptedServer, *arguments: str, typed: str | None = None) -> Ran:
    """Run the command; `typed` is piped in."""
    process = start(server, *arguments, stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE)
    stdout, stderr = process.communicate(typed, timeout=PATIENCE_SECONDS)
    assert "Traceback" not in stderr
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
