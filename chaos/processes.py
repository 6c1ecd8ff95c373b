"""Processes that are killed, frozen and restarted: on a leash, listened to, ended by their own id."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokentail.stack.leash import leashed

#: Importing litellm takes seconds of CPU, several processes may do it at once, and Redis may be away.
READY_SECONDS = 60.0
#: How long a process that was told to stop may take: its drain, its goodbyes, a Redis that does not answer.
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02


class NotReady(Exception):
    """A process did not say what it says when it is ready."""


class Process:
    """One command that can be started any number of times, and what it printed.

    Starting ties it to the thread that starts it (`tokentail.stack.leash`), so that belongs in the main one.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], ready: str, logs: Path
    ) -> None:
        self.name = name
        self.log_path = logs / f"{name}.log"
        self._command = list(command)
        self._env = dict(env)
        self._ready = re.compile(f"^.*{ready}.*\n", re.MULTILINE)
        self._process: subprocess.Popen[bytes] | None = None
        self._begins_at = 0
        self._is_frozen = False

    def start(self) -> None:
        """Start it; nothing happens while it runs."""
        if self.is_running:
            return
        with self.log_path.open("ab") as output:
            self._begins_at = output.tell()
            self._process = subprocess.Popen(
                leashed(self._command),
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    async def ready(self) -> re.Match[str]:
        """The line with which it says that it is ready. Raises NotReady, with its last words, if it ends
        before or takes too long."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            said = self.said()
            if match := self._ready.search(said):
                return match
            if not self.is_running or time.monotonic() > deadline:
                raise NotReady(f"{self.name} is not ready, its last words: {said[-1000:] or '(none)'}")
            await asyncio.sleep(_POLL_SECONDS)

    def said(self) -> str:
        """All that it has printed since it was last started."""
        with self.log_path.open("rb") as log:
            log.seek(self._begins_at)
            return log.read().decode(errors="replace")

    # Faults

    def freeze(self) -> None:
        """SIGSTOP: it is there and does nothing."""
        self._signal(signal.SIGSTOP)
        self._is_frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self._is_frozen = False

    def terminate(self) -> None:
        """SIGTERM: it has to end by itself."""
        self._signal(signal.SIGTERM)

    async def ended(self) -> bool:
        """Wait for its end after `terminate`. False if it had to be killed."""
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            if not self.is_running:
                return True
            if time.monotonic() > deadline:
                self.kill()
                return False
            await asyncio.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL, also while it is frozen, and wait for its end. Any number of times."""
        if self._process is None:
            return
        if self.is_running:
            if self._is_frozen:
                self.thaw()
            self._process.kill()
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(number)
