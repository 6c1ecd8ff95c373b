"""The processes that are measured: started on a leash, listened to, ended by their own id."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tokentail.stack.leash import leashed

#: Importing litellm takes seconds of CPU, and several processes do it at once.
PATIENCE_SECONDS = 120.0
#: After the last token: what a process still does for those generations belongs to them.
SETTLE_SECONDS = 0.3
#: The demo provider's last token may be a while away when it is told to stop.
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.005


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of all threads of a process so far, to the nanosecond.

    The kernel's CPU clock of another process; /proc counts in steps of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def waited_seconds(pid: int) -> float:
    """For how long the main thread of a process was ready to run and had no core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


class Process:
    """One command. It prints into a file, so nothing that it says can ever block it."""

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        self._read_to = 0
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                leashed(list(command)),
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line not looked at yet that matches. Raises RuntimeError, with all that the process
        said, when it ends or takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            said = self._said()
            # Only whole lines: the last one may still be on its way.
            if match := re.compile(f"^.*{pattern}.*\n", re.MULTILINE).search(said, self._read_to):
                self._read_to = match.end()
                return match
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not say {pattern!r}, but:\n{said}")
            time.sleep(_POLL_SECONDS)

    def until(self, is_ready: Callable[[], bool]) -> None:
        """Wait for something that the process does without a word. Raises RuntimeError like `wait_for`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not get ready: {self._said()}")
            time.sleep(_POLL_SECONDS)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of all its threads so far."""
        return cpu_seconds(self.pid)

    def memory_bytes(self) -> int:
        """Its resident memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:", 1)[1].split(None, 1)[0]) * 1024

    def kill(self) -> float:
        """End it as a crash would; returns when (monotonic)."""
        killed_at = time.monotonic()
        self._process.kill()
        self._process.wait()
        return killed_at

    def stop(self) -> None:
        """End it and wait for it. Any number of times."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
