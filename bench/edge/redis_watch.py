"""What a measurement costs Redis: CPU, and commands by name."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import redis

from bench.processes import cpu_seconds

#: What producers send: a cost of writing, which is the same whoever reads.
_WRITING = frozenset({"xadd", "evalsha", "eval", "time", "exists", "script|load"})
#: Our own question.
_ASKING = "info"


class Spent(NamedTuple):
    """Between two looks."""

    cpu_seconds: float
    commands: Counter[str]

    @property
    def reading(self) -> int:
        """Commands that are not for writing logs."""
        return sum(calls for name, calls in self.commands.items() if name not in _WRITING)


class RedisWatch:
    """Looks at one server."""

    def __init__(self, url: str, pid: int) -> None:
        self._client = redis.Redis.from_url(url)
        self._pid = pid
        self._before = (0.0, Counter[str]())

    def begin(self) -> None:
        """Count from here."""
        self._before = (cpu_seconds(self._pid), self._commands())

    def spent(self) -> Spent:
        """Since `begin`."""
        seconds, commands = self._before
        return Spent(cpu_seconds(self._pid) - seconds, self._commands() - commands)

    def _commands(self) -> Counter[str]:
        stats = self._client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
        return Counter({name: count for name, count in calls.items() if name != _ASKING})
