"""One process of the stack: started on a leash, watched, restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tokentail.shared.errors import TokentailError
from tokentail.stack.leash import leashed
from tokentail.stack.log_line import alarm_in

#: A child that ends sooner than this has failed to start, whatever it said before.
STEADY_SECONDS = 5.0
#: Failed starts in a row after which trying again is noise.
MOST_FAILURES = 5
#: The pause before a restart doubles with each failure from the first of these to the second.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
#: The exit code with which our commands refuse a setting: starting again would change nothing.
MISCONFIGURED = 2
#: A log beyond this is put aside at the next start, so that a restart loop can't fill a disk.
LARGEST_LOG_BYTES = 10 * 1024 * 1024
#: The longest line that is looked at as one.
LONGEST_LINE_BYTES = 1024 * 1024


class ChildFailed(TokentailError):
    """A child keeps dying. The text names it, its last words and its log."""


class Child:
    """One command that is to run until told otherwise.

    All it prints goes to its log; `on_alarm` also gets the lines that an operator should see at once.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        ready: str,
        log_directory: Path,
        on_alarm: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log_path = log_directory / f"{name}.log"
        self._env = dict(env)
        self._ready_pattern = re.compile(ready)
        self._ready = asyncio.Event()
        self._answer = ""
        self._on_alarm = on_alarm
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last_words = ""

    async def keep(self) -> NoReturn:
        """Start it, and start it again whenever it ends. Raises ChildFailed when that is hopeless.

        Cancelling this stops the watching, not the process: that is what `stop` is for.
        """
        failures = 0
        while True:
            began = time.monotonic()
            process = await self._start()
            code = await process.wait()
            await self._finish_reading()
            failures = failures + 1 if time.monotonic() - began < STEADY_SECONDS else 1
            if code == MISCONFIGURED or failures >= MOST_FAILURES:
                raise ChildFailed(self._obituary(failures))
            self._on_alarm(self.name, f"ended ({_meaning(code)}), starting it again; see {self.log_path}")
            await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS))

    async def ready(self) -> str:
        """Wait for the line that says it is ready; the answer is the pattern's first group."""
        await self._ready.wait()
        return self._answer

    async def stop(self, seconds: float) -> None:
        """Ask it to end, wait this long, then insist."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            self._on_alarm(self.name, f"did not end within {seconds:g} s and was killed")
            self.kill()
            await process.wait()
        await self._finish_reading()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _start(self) -> asyncio.subprocess.Process:
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            *leashed(self.command),
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # A session of its own, or a terminal's Ctrl-C would reach it before we can end things in order.
            start_new_session=True,
            limit=LONGEST_LINE_BYTES,
        )
        assert self._process.stdout is not None  # noqa: S101
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        return self._process

    async def _read(self, output: asyncio.StreamReader) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LARGEST_LOG_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab", buffering=0) as log:
            while True:
                try:
                    line = await output.readline()
                except ValueError:
                    continue  # Longer than the limit, and dropped.
                if not line:
                    return
                log.write(line)
                self._notice(line.decode(errors="replace").rstrip())

    def _notice(self, line: str) -> None:
        self._last_words = line or self._last_words
        if match := self._ready_pattern.search(line):
            self._answer = match[1]
            self._ready.set()
        elif alarm := alarm_in(line):
            self._on_alarm(self.name, alarm)

    async def _finish_reading(self) -> None:
        # A grandchild could hold the pipe open for ever; what it says is no longer this child's.
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=1)
            self._reading.cancel()

    def _obituary(self, failures: int) -> str:
        times = "at start" if failures == 1 else f"{failures} times in a row"
        said = self._last_words.removeprefix("tokentail: ") or "it said nothing"
        return f"{self.name} ended {times}: {said} (see {self.log_path})"


def _meaning(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
