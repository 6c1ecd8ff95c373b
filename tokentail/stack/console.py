"""What `tokentail up` tells the person who started it: little, and only what they can use."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from pathlib import Path

from rich.console import Console as Terminal


class Console:
    """Says what happens on stdout, and what goes wrong on stderr. A terminal that is gone is no error."""

    def __init__(self) -> None:
        self._out = Terminal(highlight=False, soft_wrap=True)
        self._err = Terminal(highlight=False, soft_wrap=True, stderr=True)

    def starting(self, redis_version: str, workers: int, models: Path | None) -> None:
        whose = f"the models of {models}" if models else "the demo models"
        self._say(f"Starting Redis {redis_version}, the API and {_count(workers, 'worker')} with {whose} ...")

    def ready(self, url: str, model: str, data: Path) -> None:
        """The address, and two commands that work when pasted into another terminal."""
        self._say(f"\n[bold green]tokentail is ready at {url}[/]\n")
        self._say("Submit a job and follow it, from any other terminal:\n")
        self._say(try_it(url, model), markup=False)
        self._say(f"\nLogs and data: {_short(data)}    Stop: Ctrl-C (jobs are kept)\n")

    def alarm(self, name: str, line: str) -> None:
        self._say(f"{name}: {line}", error=True, markup=False)

    def note(self, sentence: str) -> None:
        self._say(f"tokentail: {sentence}", error=True, markup=False)

    def stopping(self, drain_seconds: float) -> None:
        self._say(f"Stopping; running jobs get {drain_seconds:g} s (Ctrl-C again: none) ...")

    def stopped(self, data: Path) -> None:
        self._say(f"Stopped. The jobs are kept in {_short(data)} for the next start.")

    def _say(self, text: str, *, error: bool = False, markup: bool = True) -> None:
        with contextlib.suppress(OSError):
            (self._err if error else self._out).print(text, markup=markup)


def try_it(url: str, model: str) -> str:
    """Shell lines that submit a job and follow it; they need curl and grep only."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f"  job=$(curl -s {url}/v1/jobs -H 'Content-Type: application/json' -d {shlex.quote(body)}"
        " | grep -o 'job_[0-9A-Za-z_-]*' | head -n 1)\n"
        f'  curl -N "{url}/v1/jobs/$job/events"'
    )


def _short(path: Path) -> str:
    try:
        relative = os.path.relpath(path)
    except OSError:  # Somebody removed the directory that we were started in.
        return str(path)
    return str(path) if relative.startswith("..") else relative


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
