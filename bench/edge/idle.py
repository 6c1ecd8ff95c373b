"""Idle followers: what one that waits for something to happen takes of the server's memory."""

from __future__ import annotations

from bench import output
from bench.edge.effort import EdgeEffort
from bench.edge.place import Place
from bench.report import Aim, Found, Row

#: Some, as in life: neither one log for all, nor one for each.
_LOGS = 20


def measure(place: Place, effort: EdgeEffort) -> Found:
    """Once, before all else: memory that others have given back would be taken as if it cost nothing."""
    output.progress("idle")
    side, crowd = place.ours, place.crowd
    each = effort.idle_followers // _LOGS
    logs = side.feed.open(_LOGS)
    # The first followers bring what is there once, however many come after them.
    crowd.open(side.url, side.paths(logs, 1))
    crowd.until(side.before)
    before = place.api.memory_bytes()
    crowd.open(side.url, side.paths(logs, each))
    counted = crowd.until(side.before)
    after = place.api.memory_bytes()
    crowd.close()
    side.feed.end()
    if counted.least != side.before:
        raise RuntimeError(f"Somebody got {counted.least} events instead of {side.before}.")
    kilobytes = (after - before) / (each * _LOGS) / 1000
    return Found(
        [Row("idle: memory per follower", "KB", kilobytes, None, (1,), Aim("value", 10))],
        [
            f"Idle: {each * _LOGS} followers of {_LOGS} jobs that say nothing. Resident memory of the API "
            f"when all have come ({after / 1e6:.0f} MB) less that with one follower of each job "
            f"({before / 1e6:.0f} MB)."
        ],
    )
