"""Reconnecting: what it costs when all followers of a job are dropped at once and come back with cursors."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from bench import output
from bench.edge.effort import EdgeEffort
from bench.edge.place import Place
from bench.report import Aim, Found, Row

_RATE = 30.0
#: Long enough for all to come back while events are still written.
_SECONDS = 4.0
#: Events that all have before they are dropped.
_FIRST = 5
#: O(1) for the job: as many for a thousand followers as for ten. Some come from the process's own helpers.
_COMMANDS = 20


@dataclass(frozen=True, slots=True)
class _Return:
    live_ms: float
    #: Commands beside those that read what was written meanwhile.
    commands: int
    by_name: Counter[str]


def measure(place: Place, effort: EdgeEffort) -> Found:
    """Some returns; every follower has to get every event in spite of them."""
    returns = []
    for number in range(effort.rounds):
        output.progress(f"reconnect, round {number + 1}")
        returns.append(_return(place, effort))
    n = (len(returns),)
    what = f"reconnect, {effort.followers} followers of 1 job"
    rows = [
        Row(
            f"{what}: Redis commands",
            "",
            median(r.commands for r in returns),
            None,
            n,
            Aim("value", _COMMANDS),
        ),
        Row(
            f"{what}: until all are live",
            "ms",
            median(r.live_ms for r in returns),
            None,
            n,
            Aim("value", 2000),
        ),
    ]
    names = ", ".join(f"{name} {count}" for name, count in returns[-1].by_name.most_common(4))
    return Found(
        rows,
        [
            "Reconnect: all are dropped at once and connect again with their cursors while "
            f"{_RATE:.0f} events/s are written; live is who has a new event. Redis commands: those that are "
            "not for writing, less one read for each entry that was written meanwhile. The most frequent of "
            f"the last round: {names}. Every follower got every event."
        ],
    )


def _return(place: Place, effort: EdgeEffort) -> _Return:
    side, crowd = place.ours, place.crowd
    logs = side.feed.open(1)
    crowd.open(side.url, side.paths(logs, effort.followers), keeps_cursor=True)
    with ThreadPoolExecutor(1) as feeding:
        fed = feeding.submit(side.feed.run, _RATE, _SECONDS)
        crowd.until(side.before + _FIRST)
        place.redis.begin()
        live_ms = crowd.come_back()
        commands = place.redis.commands()
        expected = side.before + fed.result()
    counted = crowd.until(expected)
    crowd.close()
    side.feed.end()
    if (counted.least, counted.most) != (expected, expected):
        raise RuntimeError(f"Followers got {counted.least} to {counted.most} events instead of {expected}.")
    needed = min(commands["xread"], place.redis.writes + 1)
    return _Return(live_ms, commands.total() - needed, commands)
