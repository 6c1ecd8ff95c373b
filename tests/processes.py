"""Real processes for tests: started, listened to, and ended for sure."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Far beyond what anything here takes, so that a slow machine fails no test and a hang still ends.
PATIENCE_SECONDS = 60.0
#: TOKENTAIL_TEST_REDIS_SERVER=/path/to/redis-server chooses another one than `tokentail up` would.
REDIS_BINARY = Path(chosen) if (chosen := os.environ.get("TOKENTAIL_TEST_REDIS_SERVER")) else None
TOKENTAIL = str(Path(sys.executable).with_name("tokentail"))


class Running:
    """A started command. What it prints, on either stream, can be waited for line by line."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line not looked at yet that matches; fails with all that was said if none comes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                line = self._new.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line like {pattern!r} in:\n" + "\n".join(self.lines))
            if match := re.search(pattern, line):
                return match

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Its exit code; all it said is then in `lines`."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def close(self) -> None:
        """End it; what it started is on its leash."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._new.put(self.lines[-1])
        self._new.put(None)


def until(promise: Callable[[], bool], what: str) -> None:
    """Wait for something that can only be asked for, not waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not promise():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process still runs; one that ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def children_of(pid: int) -> list[int]:
    """The processes that it started and that still run."""
    return [child for child in _processes() if _parent(child) == pid and is_alive(child)]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def environment_of(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
