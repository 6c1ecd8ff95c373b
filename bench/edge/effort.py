"""How much is measured at the edge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EdgeEffort:
    """Repetitions and sizes."""

    rounds: int
    seconds: float
    followers: int
    jobs: int
    idle_followers: int


#: What the aims are for.
FULL = EdgeEffort(rounds=3, seconds=10.0, followers=1000, jobs=1000, idle_followers=5000)

#: A smoke run: its numbers mean nothing.
QUICK = EdgeEffort(rounds=1, seconds=0.5, followers=20, jobs=10, idle_followers=200)
