"""How often everything is broken: enough for a p99, or just enough to see that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Repetitions and sizes of every part."""

    #: Takeover: each of the leases, in seconds; workers killed under each, so many at a time.
    leases: tuple[float, ...]
    kills: int
    kills_at_once: int
    #: Deaths of a worker with many jobs, as often for each number of survivors; and the lease meanwhile.
    crowd_deaths: int
    crowd_survivors: tuple[int, ...]
    crowd_lease: float
    #: Cancels, and streams that run beside them.
    cancels: int
    cancel_load: int
    #: Restarts of Redis, half of them after a SIGKILL, and followed streams meanwhile.
    restarts: int
    restart_load: int
    #: Soak: streams that are begun with, before it is known how many the machine carries; how long that is
    #: looked at; the pause between two looks at the memory.
    first_streams: int
    gauge_seconds: float
    sample_seconds: float


#: About ten minutes on two cores, most of it waiting for leases to lapse. The soak is as long as it is told.
FULL = Effort(
    leases=(10.0, 3.0),
    kills=50,
    kills_at_once=5,
    crowd_deaths=5,
    crowd_survivors=(1, 2),
    crowd_lease=3.0,
    cancels=300,
    cancel_load=20,
    restarts=20,
    restart_load=20,
    first_streams=30,
    gauge_seconds=15.0,
    sample_seconds=10.0,
)

#: A smoke run: its numbers mean nothing.
QUICK = Effort(
    leases=(1.0,),
    kills=1,
    kills_at_once=1,
    crowd_deaths=1,
    crowd_survivors=(1,),
    crowd_lease=1.0,
    cancels=6,
    cancel_load=2,
    restarts=2,
    restart_load=2,
    first_streams=3,
    gauge_seconds=2.0,
    sample_seconds=0.5,
)
