"""A seed stands for one schedule, and a schedule for faults that leave the promises in force."""

from __future__ import annotations

import itertools

import pytest

from chaos import faults
from chaos.plan import plan


def test_a_seed_always_means_the_same_run() -> None:
    # Given a seed; When it is planned twice; Then load and faults are the same to the last digit
    assert plan(7, 20) == plan(7, 20)
    assert str(plan(7, 20)) == str(plan(7, 20))


def test_another_seed_means_another_run() -> None:
    assert plan(7, 20).faults != plan(8, 20).faults
    assert plan(7, 20).wishes != plan(8, 20).wishes


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_broken_by_two_faults_at_once(seed: int) -> None:
    # Given a schedule
    schedule = plan(seed, 20).faults
    # When its faults are sorted by what they break
    for _, group in itertools.groupby(sorted(schedule, key=_place), key=_place):
        # Then each is over before the next one of the same begins
        for before, after in itertools.pairwise(sorted(group, key=lambda fault: fault.at)):
            assert before.at + before.seconds <= after.at


def _place(fault: faults.Fault) -> tuple[str, int]:
    link = next((link for link in faults.LINKS if fault.kind in _kinds_of(link)), None)
    return (link or fault.kind.split("-")[0], fault.target)


def _kinds_of(link: str) -> list[str]:
    return [f"{link}-{fault}" for fault in faults.RELAY_FAULTS]


def test_faults_can_be_chosen_by_kind() -> None:
    # Given one kind; Then no other is planned
    kinds = {fault.kind for fault in plan(3, 20, kinds=[faults.REDIS_KILL]).faults}
    assert kinds == {faults.REDIS_KILL}
    # And with none there is load alone
    assert plan(3, 20, kinds=[]).faults == ()
    assert plan(3, 20, kinds=[]).wishes


def test_no_kind_comes_twice_before_each_has_come_once() -> None:
    # Given a schedule with room for all kinds; Then all of them are in it
    assert {fault.kind for fault in plan(5, 60, workers=3).faults} == set(faults.ALL_FAULTS)
