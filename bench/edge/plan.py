"""What is to be done to each of those that are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """`followers` of each of `logs`, each of which gets `rate` events a second."""

    logs: int
    followers: int
    rate: float
    seconds: float
