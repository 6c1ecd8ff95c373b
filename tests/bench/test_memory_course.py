"""Whether memory grows: what a line through samples says, and what it must not be misled by."""

from __future__ import annotations

import pytest

from bench.reliability.memory import Sample, course

MB = 1_000_000
TEN_MINUTES = range(0, 601, 10)


def test_memory_that_only_grows_while_everything_warms_up_is_flat() -> None:
    # Given a process that takes 80 MB more in its first two minutes, and nothing after
    samples = [Sample(at, 100 * MB + min(at, 120) * MB * 2 // 3) for at in TEN_MINUTES]
    # Then it is flat, and its medians tell both ends
    found = course(samples)
    assert found.slope == pytest.approx(0, abs=0.01)
    assert found.first_minute == pytest.approx(120)
    assert found.last_minute == pytest.approx(180)


def test_a_steady_leak_is_told_for_ten_minutes_however_long_was_looked() -> None:
    # Given processes that lose 6 MB in ten minutes, watched for two minutes and for ten
    for seconds in (120, 600):
        samples = [Sample(at, 100 * MB + at * MB // 100) for at in range(0, seconds + 1, 10)]
        # Then that is what it says
        assert course(samples).slope == pytest.approx(6)


def test_one_high_sample_at_the_end_is_no_leak() -> None:
    # Given a flat process that is caught with 5 MB more in its last moment
    samples = [Sample(at, 100 * MB) for at in TEN_MINUTES]
    samples[-1] = Sample(600, 105 * MB)
    # Then it has not lost 5 MB
    assert course(samples).slope < 1
