"""Which leases are given up, and when: before they end, and never while they can be relied on."""

from __future__ import annotations

import pytest

from tokentail.shared.claim import Held
from tokentail.worker.standing import MARGIN_SECONDS, Lease, Standing, trusted_seconds

ONE: Lease = ("job_1", 1)
TWO: Lease = ("job_2", 2)
LEASE_SECONDS = 10.0


@pytest.fixture
def standing() -> Standing:
    return Standing(LEASE_SECONDS)


def test_a_lease_that_is_never_renewed_is_given_up_a_margin_before_its_end(standing: Standing) -> None:
    # Given a lease that was asked for at second 100
    held = {ONE: 100.0}
    assert standing.give_up(held, 100.0 + LEASE_SECONDS - MARGIN_SECONDS - 0.01) == []
    assert standing.give_up(held, 100.0 + LEASE_SECONDS - MARGIN_SECONDS) == [ONE]


def test_a_renewal_counts_from_when_it_was_asked_for(standing: Standing) -> None:
    # Given one that was renewed by a request of second 104, whose answer came later
    held = {ONE: 100.0, TWO: 100.0}
    standing.hear([ONE, TWO], [Held.HELD, Held.CANCEL], asked_at=104.0)
    # Then it stands that much longer, also if it is to be cancelled, which its owner does
    assert standing.give_up(held, 112.9) == []
    assert standing.give_up(held, 113.0) == [ONE, TWO]


@pytest.mark.parametrize("answer", [Held.LOST, Held.GONE])
def test_what_is_somebody_elses_is_neither_asked_for_nor_given_up_once_more(
    standing: Standing, answer: Held
) -> None:
    # Given an attempt that was told, and takes its time to end
    held = {ONE: 100.0, TWO: 100.0}
    standing.hear([ONE, TWO], [answer, Held.HELD], asked_at=102.0)
    # Then it is not asked for, and that it is not renewed is no news
    assert standing.to_renew(held) == [TWO]
    assert standing.give_up(held, 111.0) == [TWO]


def test_a_lease_is_given_up_once_and_not_renewed_again(standing: Standing) -> None:
    # Given an attempt that was given up and has yet to end
    held = {ONE: 100.0, TWO: 105.0}
    assert standing.to_renew(held) == [ONE, TWO]
    assert standing.give_up(held, 109.0) == [ONE]
    # Then nobody hears of it again, and its lease may end: it must not keep the job by hanging
    assert standing.give_up(held, 109.1) == []
    assert standing.to_renew(held) == [TWO]
    # And an answer that came too late changes nothing
    standing.hear([ONE], [Held.HELD], asked_at=108.9)
    assert standing.to_renew(held) == [TWO]


def test_what_is_no_longer_held_is_forgotten(standing: Standing) -> None:
    held = {ONE: 100.0, TWO: 100.0}
    standing.hear([TWO], [Held.HELD], asked_at=200.0)
    assert standing.give_up(held, 200.0) == [ONE]
    assert standing.give_up({}, 200.0) == []
    assert (standing._renewed, standing._over) == ({}, set())


@pytest.mark.parametrize("lease_seconds", [0.5, 2.0, 10.0, 600.0])
def test_every_lease_leaves_time_for_renewals_and_for_stopping(lease_seconds: float) -> None:
    assert lease_seconds / 2 < trusted_seconds(lease_seconds) < lease_seconds
    assert lease_seconds - trusted_seconds(lease_seconds) <= MARGIN_SECONDS
