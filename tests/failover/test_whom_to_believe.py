"""What sentinels say may differ, and most of it decides."""

from __future__ import annotations

import pytest
from redis.exceptions import RedisError

from tokentail.shared.opinion import Leaving, NoPrimary, Opinion, UnknownPrimary, choose
from tokentail.shared.redis_url import Address

OLD, NEW = Address("old", 6379), Address("new", 6379)
UNKNOWN = RedisError("No such master with that name")
AWAY = NoPrimary("refused")


def chosen(*answers: Opinion | RedisError, known_epoch: int = 0) -> Address:
    return choose("p", answers, asked=3, known_epoch=known_epoch).address


def test_the_newest_epoch_counts_whoever_speaks_first() -> None:
    assert chosen(Opinion(OLD, 1), Opinion(NEW, 2)) == NEW
    assert chosen(Opinion(NEW, 2), Opinion(OLD, 1)) == NEW


def test_one_sentinel_that_is_left_is_believed_unless_it_has_missed_a_failover() -> None:
    assert chosen(AWAY, Opinion(OLD, 1), AWAY, known_epoch=1) == OLD
    with pytest.raises(NoPrimary, match="missed a failover"):
        chosen(AWAY, Opinion(OLD, 1), AWAY, known_epoch=2)


def test_most_sentinels_are_believed_though_they_begin_to_count_anew() -> None:
    assert chosen(AWAY, Opinion(NEW, 0), Opinion(NEW, 0), known_epoch=2) == NEW


def test_a_sentinel_that_has_yet_to_learn_the_name_does_not_count() -> None:
    assert chosen(UNKNOWN, UNKNOWN, Opinion(OLD, 1)) == OLD


def test_a_primary_is_down_when_all_that_are_up_to_date_say_so() -> None:
    assert chosen(Opinion(NEW, 2, is_down=True), Opinion(NEW, 2)) == NEW
    with pytest.raises(NoPrimary, match="is down"):
        choose("p", [Opinion(NEW, 2, is_down=True), Opinion(OLD, 1), Opinion(NEW, 2, is_down=True)], asked=3)


def test_a_primary_that_is_being_replaced_is_not_to_be_told_anything() -> None:
    with pytest.raises(Leaving, match="another primary"):
        chosen(Opinion(OLD, 1), Opinion(OLD, 1, is_leaving=True), Opinion(OLD, 1))
    assert chosen(Opinion(NEW, 2), Opinion(OLD, 1, is_leaving=True)) == NEW


@pytest.mark.parametrize("answers", [[UNKNOWN, UNKNOWN, AWAY], [UNKNOWN] * 3])
def test_a_name_that_most_sentinels_do_not_know_is_wrong(answers: list[RedisError]) -> None:
    with pytest.raises(UnknownPrimary, match="'my-primary'"):
        choose("my-primary", answers, asked=3)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([AWAY, AWAY, AWAY], "No sentinel of Redis answers"),
        ([AWAY, AWAY, UNKNOWN], "refuse to tell"),
        ([AWAY, RedisError("NOAUTH Authentication required."), AWAY], "refuse to tell"),
    ],
)
def test_few_that_answer_no_good_prove_nothing(answers: list[RedisError], said: str) -> None:
    with pytest.raises(NoPrimary, match=said) as nowhere:
        choose("p", answers, asked=3)
    assert not isinstance(nowhere.value, UnknownPrimary)
