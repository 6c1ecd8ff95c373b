"""One side, one time: followers come, events are written at a pace, and it is counted what that took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from bench.edge.cores import REST
from bench.edge.crowd import Counted
from bench.edge.place import Place
from bench.edge.plan import Plan
from bench.edge.side import Side
from bench.processes import cpu_seconds, waited_seconds

#: What is busy for more of the time than this beside a server is what is measured, not the server.
_SATURATED_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one bout has shown, per event that was delivered or per entry that was written.

    `shares` are parts of one core; `waits` are for how much of the time somebody had something to do and no
    core; `spoiled` is why this must not be reported.
    """

    cpu_us: float
    redis_us: float
    p50_ms: float
    p99_ms: float
    reads_per_entry: float
    connections: int
    shares: dict[str, float]
    waits: dict[str, float]
    spoiled: str | None


def bout(place: Place, side: Side, plan: Plan) -> Outcome:
    """Let a side show what it takes."""
    logs = side.feed.open(plan.logs)
    place.crowd.open(side.url, side.paths(logs, plan.followers))
    place.crowd.until(side.before)
    place.crowd.begin()
    watch = _Watch(place, side)
    each = side.feed.run(plan.rate, plan.seconds)
    counted = place.crowd.until(side.before + each)
    outcome = watch.outcome(counted, entries=plan.logs * each, followers=plan.followers, each=each)
    place.crowd.close()
    side.feed.end()
    return outcome


class _Watch:
    """Counts from when it is made."""

    def __init__(self, place: Place, side: Side) -> None:
        self._place, self._side = place, side
        self._pids = {"server": side.pid, "load": place.crowd.process.pid, "Redis": place.redis.pid}
        if side.feed.process.pid != side.pid:
            self._pids["producer"] = side.feed.process.pid
        self._cpu = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        self._waited = {name: waited_seconds(pid) for name, pid in self._pids.items()}
        place.redis.begin()
        self._began = time.monotonic()

    def outcome(self, counted: Counted, *, entries: int, followers: int, each: int) -> Outcome:
        took = time.monotonic() - self._began
        spent = {name: cpu_seconds(pid) - self._cpu[name] for name, pid in self._pids.items()}
        waited = {name: waited_seconds(pid) - self._waited[name] for name, pid in self._pids.items()}
        shares = {name: seconds / took for name, seconds in spent.items()}
        reading = self._place.redis.commands().total()
        return Outcome(
            cpu_us=spent["server"] / (entries * followers) * 1e6,
            redis_us=spent["Redis"] / entries * 1e6,
            p50_ms=counted.p50_ms,
            p99_ms=counted.p99_ms,
            reads_per_entry=reading / entries,
            connections=self._redis_connections(),
            shares=shares,
            waits={name: seconds / took for name, seconds in waited.items()},
            spoiled=spoiled_by(shares, counted, self._side.before + each),
        )

    def _redis_connections(self) -> int:
        connections = psutil.Process(self._side.pid).net_connections("tcp")
        return sum(bool(it.raddr) and it.raddr.port == self._place.redis_port for it in connections)


def spoiled_by(
    shares: Mapping[str, float], counted: Counted, expected: int, cores: int = len(REST)
) -> str | None:
    """Why what was measured is not what it is called: an event was lost or doubled, or those around the
    server were at their limit, one alone or all on the `cores` that they share."""
    if (counted.least, counted.most) != (expected, expected):
        return f"followers got {counted.least} to {counted.most} events instead of {expected}"
    others = {name: share for name, share in shares.items() if name != "server"}
    for name, share in others.items():
        if share > _SATURATED_SHARE:
            return f"{name} was busy for {share:.0%} of the time"
    if (together := sum(others.values())) > _SATURATED_SHARE * cores:
        return f"{', '.join(others)} used {together:.0%} of {cores} core(s)"
    return None
