"""Logs are read often while that costs little, and in larger pieces under load."""

from __future__ import annotations

from tokentail.api.pacing import LONGEST_TICK_SECONDS, TICK_SECONDS, Pacing


def under(entries_per_second: float, seconds: float = 10.0) -> Pacing:
    """A pacing that has read at its own pace for a while."""
    pacing, now = Pacing(), 0.0
    while now < seconds:
        now += pacing.tick_seconds
        pacing.took(round(entries_per_second * pacing.tick_seconds), now)
    return pacing


def test_who_reads_little_reads_often() -> None:
    assert Pacing().tick_seconds == TICK_SECONDS
    assert under(100).tick_seconds == TICK_SECONDS
    assert under(9_000).tick_seconds == TICK_SECONDS


def test_twice_what_is_calm_is_read_in_pieces_that_cost_redis_a_sixth() -> None:
    assert 0.028 < under(20_000).tick_seconds < 0.032


def test_however_much_there_is_nothing_waits_for_long() -> None:
    assert under(1_000_000).tick_seconds == LONGEST_TICK_SECONDS


def test_after_a_burst_reads_come_often_again() -> None:
    # Given a load that ends
    pacing = under(40_000)
    assert pacing.tick_seconds == LONGEST_TICK_SECONDS
    # When little has come for some seconds
    pacing.took(1, 13.0)
    assert pacing.tick_seconds == TICK_SECONDS


def test_one_read_that_brings_a_backlog_slows_only_the_next_ones() -> None:
    pacing = Pacing()
    pacing.took(10_000, 0.0)
    assert pacing.tick_seconds > TICK_SECONDS
    pacing.took(1, 1.0)
    assert pacing.tick_seconds == TICK_SECONDS
