"""What a measurement costs Redis: CPU, and commands by name."""

from __future__ import annotations

from typing import NamedTuple

import redis

from bench.processes import cpu_seconds

#: What producers send: a cost of writing, which is the same whoever reads.
_WRITING = frozenset({"xadd", "evalsha", "eval", "time", "exists", "xrevrange", "script|load"})


class Spent(NamedTuple):
    """Between two looks. `reading` counts the commands that are not for writing logs."""

    cpu_seconds: float
    reading: int


class RedisWatch:
    """Looks at one server."""

    def __init__(self, url: str, pid: int) -> None:
        self._client = redis.Redis.from_url(url)
        self._pid = pid
        self._before = (0.0, 0)

    def begin(self) -> None:
        """Count from here."""
        self._before = (cpu_seconds(self._pid), self._commands())

    def spent(self) -> Spent:
        """Since `begin`."""
        seconds, commands = self._before
        return Spent(cpu_seconds(self._pid) - seconds, self._commands() - commands)

    def _commands(self) -> int:
        stats = self._client.info("commandstats")
        names = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
        # Our own question is no cost of anybody's.
        return sum(calls for name, calls in names.items() if name not in _WRITING | {"info"})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
