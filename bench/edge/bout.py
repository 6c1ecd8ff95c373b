"""One side, one time: followers come, events are written at a pace, and it is counted what that took."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.edge.connections import connections_to
from bench.edge.place import Place
from bench.edge.side import Side
from bench.processes import cpu_seconds

#: A load, a producer or a Redis that is busy for more of the time than this
#: is what is measured, not the server.
_SATURATED_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one bout has shown. `shares` are parts of one core; `spoiled` is why it must not be reported."""

    cpu_us: float
    redis_us: float
    p50_ms: float
    p99_ms: float
    events: int
    reading: int
    connections: int
    shares: dict[str, float]
    spoiled: str | None


def bout(place: Place, side: Side, *, logs: int, followers: int, rate: float, seconds: float) -> Outcome:
    """`followers` of each of `logs`, each of which gets `rate` events a second."""
    opened = side.feed.open(logs)
    place.crowd.open(side.url, side.paths(opened, followers))
    place.crowd.until(side.before)
    place.crowd.begin()
    measured = {"server": side.pid, "load": place.crowd.process.pid, "producer": side.feed.process.pid}
    before = {name: cpu_seconds(pid) for name, pid in measured.items()}
    place.redis.begin()
    began = time.monotonic()
    each = side.feed.run(rate, seconds)
    counted = place.crowd.until(side.before + each)
    took = time.monotonic() - began
    spent = {name: cpu_seconds(pid) - before[name] for name, pid in measured.items()}
    redis = place.redis.spent()
    connections = connections_to(place.redis_port, side.pid)
    place.crowd.close()
    side.feed.end()
    shares = {name: seconds / took for name, seconds in (spent | {"Redis": redis.cpu_seconds}).items()}
    delivered = logs * followers * each
    return Outcome(
        cpu_us=spent["server"] / delivered * 1e6,
        redis_us=redis.cpu_seconds / (logs * each) * 1e6,
        p50_ms=counted.p50_ms,
        p99_ms=counted.p99_ms,
        events=delivered,
        reading=redis.reading,
        connections=connections,
        shares=shares,
        spoiled=_spoiled(shares, side.before + each, counted.least, counted.most),
    )


def _spoiled(shares: dict[str, float], expected: int, least: int, most: int) -> str | None:
    if (least, most) != (expected, expected):
        return f"followers got {least} to {most} events instead of {expected}"
    for name, share in shares.items():
        if name != "server" and share > _SATURATED_SHARE:
            return f"{name} was busy for {share:.0%} of the time"
    return None
