"""When a worker's event loop counts as hung."""

from __future__ import annotations

from tokentail.shared.lag import LoopLag
from tokentail.worker.stall import LOOK_SECONDS, STALL_SECONDS, Stall


def looked(stall: Stall, begin: float, seconds: float) -> float:
    """The answer to the last of the looks that fit into so many seconds."""
    answer = stall.seconds(begin)
    for look in range(1, round(seconds / LOOK_SECONDS) + 1):
        answer = stall.seconds(begin + look * LOOK_SECONDS)
    return answer


def test_a_loop_that_runs_no_more_is_seen_to_stand_still() -> None:
    assert looked(Stall(LoopLag()), 100.0, STALL_SECONDS) == STALL_SECONDS


def test_a_loop_that_comes_back_has_not_hung() -> None:
    # Given a loop that did not run for nearly too long
    lag = LoopLag()
    stall = Stall(lag)
    assert looked(stall, 100.0, STALL_SECONDS - 1) > 0
    # When it runs again
    lag.take(STALL_SECONDS - 1, 129.0)
    assert stall.seconds(129.25) == 0
    # Then the count begins anew
    assert stall.seconds(129.5) == LOOK_SECONDS


def test_a_process_that_was_frozen_as_a_whole_has_not_hung() -> None:
    # Given a process that was stopped for an hour, and whose heartbeat wakes before its loop
    stall = Stall(LoopLag())
    stall.seconds(100.0)
    assert stall.seconds(3700.0) <= 2 * LOOK_SECONDS
