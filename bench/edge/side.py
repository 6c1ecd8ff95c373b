"""One of those that are compared: a server with followers, and what feeds it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.edge.feed import Feed
from bench.edge.plan import Plan


@dataclass(frozen=True, slots=True)
class Side:
    """`path` is where the events of a log are, with `{}` for its id; `pid` is the process that serves them.

    `before` is how many events each log holds before the feed runs. A side that can't serve everybody with
    one core gets a `share` of the followers: what it costs is counted per delivered event.
    """

    name: str
    pid: int
    url: str
    path: str
    feed: Feed
    before: int = 0
    share: float = 1.0

    def paths(self, logs: list[str], each: int) -> list[str]:
        """So many followers of each log."""
        return [self.path.format(log) for log in logs for _ in range(each)]

    def part_of(self, plan: Plan) -> Plan:
        """What of a plan this side can take: fewer followers, or fewer logs where each has one."""
        if plan.followers == 1:
            return replace(plan, logs=max(1, round(plan.logs * self.share)))
        return replace(plan, followers=max(1, round(plan.followers * self.share)))
