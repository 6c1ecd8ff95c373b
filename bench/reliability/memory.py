"""Memory over time: what was measured, and whether it grows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

_MEGABYTE = 1_000_000
#: What a slope is given for.
_TEN_MINUTES = 600.0
_MINUTE = 60.0

#: While connections, caches and pools fill: not looked at for the slope.
WARM_UP_SECONDS = 120.0
#: Of a run that is hardly longer than that, at least this share is looked at.
_SHORTEST_SHARE = 0.5


class Sample(NamedTuple):
    """Resident memory at a moment, in seconds since the start."""

    at: float
    size: int


class Course(NamedTuple):
    """What came of one process's memory, in MB: medians, and growth in ten minutes."""

    first_minute: float
    last_minute: float
    slope: float


def course(samples: Sequence[Sample]) -> Course:
    """The course of samples in the order of time, at least two of them."""
    end = samples[-1].at
    warm = min(WARM_UP_SECONDS, end * (1 - _SHORTEST_SHARE))
    return Course(
        first_minute=_median([sample for sample in samples if sample.at <= _MINUTE]),
        last_minute=_median([sample for sample in samples if sample.at >= end - _MINUTE]),
        slope=_slope([sample for sample in samples if sample.at >= warm]) * _TEN_MINUTES,
    )


def _median(samples: Sequence[Sample]) -> float:
    return median(sample.size for sample in samples) / _MEGABYTE


def _slope(samples: Sequence[Sample]) -> float:
    """MB per second, by least squares: one high sample at the end is no leak."""
    middle = sum(sample.at for sample in samples) / len(samples)
    spread = sum((sample.at - middle) ** 2 for sample in samples)
    if not spread:
        return 0.0
    return sum((sample.at - middle) * sample.size for sample in samples) / spread / _MEGABYTE
