"""What reading costs Redis: commands by name."""

from __future__ import annotations

from collections import Counter

import redis

#: What producers send: a cost of writing, which is the same whoever reads.
_WRITING = frozenset({"evalsha", "eval", "time", "exists", "script|load"})
#: Of these, `writes` says how many there were.
_APPENDING = "xadd"
#: Our own question.
_ASKING = "info"


class RedisWatch:
    """Looks at one server. `writes` and `commands` count from the newest `begin` to the newest look."""

    def __init__(self, url: str, pid: int) -> None:
        self._client = redis.Redis.from_url(url)
        self.pid = pid
        self.writes = 0
        self._before = Counter[str]()

    def begin(self) -> None:
        """Count from here."""
        self._before = self._calls()

    def commands(self) -> Counter[str]:
        """Those since `begin` that are not for writing logs."""
        since = self._calls() - self._before
        self.writes = since.pop(_APPENDING, 0)
        return Counter({name: calls for name, calls in since.items() if name not in _WRITING})

    def _calls(self) -> Counter[str]:
        stats = self._client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
        return Counter({name: count for name, count in calls.items() if name != _ASKING})
