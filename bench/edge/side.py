"""One of those that are compared: a server with followers, and what feeds it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.edge.feed import Feed
from bench.processes import Process


@dataclass(frozen=True, slots=True)
class Side:
    """`path` is where the events of a log are, with `{}` for its id; `pid` is the process that serves them.

    `before` is how many events each log holds before the feed runs. A side that can't serve everybody with
    one core gets a `share` of the followers: what it costs is counted per delivered event.
    """

    name: str
    server: Process
    pid: int
    url: str
    path: str
    feed: Feed
    before: int = 0
    share: float = 1.0
    uses_redis: bool = True

    def paths(self, logs: list[str], each: int) -> list[str]:
        """So many followers of each log."""
        return [self.path.format(log) for log in logs for _ in range(each)]
