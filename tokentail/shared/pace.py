"""The pace at which jobs leave the queue, and what it tells those who find it full."""

from __future__ import annotations

import math

#: Over how much time the pace of the queue is averaged: long enough to hold some generations, short enough
#: to notice that workers were added.
PACE_SECONDS = 30.0

#: Who is refused comes back when a twentieth of the queue should be free, for others come back too; at the
#: earliest and latest after so many seconds.
FREE_SHARE = 0.05
RETRY_AFTER_SECONDS = (1, 60)


def retry_after_seconds(max_queue: int, jobs_per_second: float) -> int:
    """When to come back to a full queue that so many jobs leave per second."""
    soonest, latest = RETRY_AFTER_SECONDS
    room = max(1.0, max_queue * FREE_SHARE)
    return latest if jobs_per_second * latest <= room else max(soonest, math.ceil(room / jobs_per_second))
