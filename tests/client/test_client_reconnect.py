"""When a request is repeated and a follower connects again, step by step: no socket, no waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scripted_logs import attempt, completed, delta, logged
from scripted_server import frame

from tokentail.client.calls import get, result
from tokentail.client.errors import ConnectionLost, ServerBusy, ServerUnreachable
from tokentail.client.follow import follow
from tokentail.client.retries import Retries
from tokentail.client.steps import Entry, Open, Read, Reply, Send, Sleep, Steps, Task

RETRIES = Retries(connections=4, first_seconds=0.1, longest_seconds=0.5)
STREAM = Reply(200, {"content-type": "text/event-stream"})
LOG = logged(attempt(), delta("a"), completed())
GREETING = b": connected\nretry: 2000\n"
LOST = ConnectionLost("Lost.")
NOT_SENT = ServerUnreachable("Not there.")


def waits(*answers: Any, steps: Steps[Any] | None = None) -> list[float]:
    """Follow with these answers to Send, Open and Read, in turn, and collect how long it waits between."""
    task = Task(steps or follow("job_1", None, RETRIES))
    remaining = list(answers)
    slept = []
    while remaining and not task.done:
        if isinstance(task.step, Sleep):
            slept.append(task.step.seconds)
            task.answer(None)
        elif isinstance(task.step, Entry):
            task.answer(None)
        elif isinstance(remaining[0], ServerUnreachable):
            task.fail(remaining.pop(0))
        else:
            assert isinstance(task.step, Read if isinstance(remaining[0], bytes) else Open | Send)
            task.answer(remaining.pop(0))
    if isinstance(task.step, Sleep):
        slept.append(task.step.seconds)
    return slept


def entry(index: int) -> bytes:
    return frame(LOG[index]).encode()


def test_after_a_clean_end_it_comes_back_at_once() -> None:
    assert waits(STREAM, GREETING + entry(0), b"") == [0]


def test_after_a_drop_it_waits_as_long_as_the_server_wished() -> None:
    assert waits(STREAM, GREETING + entry(0), LOST) == [2.0]


def test_the_wish_of_an_earlier_connection_still_holds_when_none_can_be_made() -> None:
    assert waits(STREAM, GREETING + entry(0), LOST, LOST, LOST) == [2.0, 2.0, 2.0]


def test_the_wish_of_an_earlier_connection_still_holds_on_one_that_was_not_told_yet() -> None:
    assert waits(STREAM, GREETING + entry(0), LOST, STREAM, b": connected\n", LOST) == [2.0, 2.0]


def test_without_a_wish_each_wait_may_be_twice_the_last_up_to_a_bound() -> None:
    first, second, third = waits(LOST, LOST, LOST)

    assert 0.05 <= first <= 0.1
    assert 0.1 <= second <= 0.2
    assert 0.2 <= third <= 0.4


def test_a_busy_server_is_given_the_time_that_it_asks_for() -> None:
    (wait,) = waits(Reply(503, {"retry-after": "7"}))
    assert 7 <= wait <= 10.5


@pytest.mark.parametrize(
    "begin", [lambda: follow("job_1", None, RETRIES), lambda: get("job_1", wait=None, retries=RETRIES)]
)
def test_clients_that_were_refused_together_do_not_come_back_together(
    begin: Callable[[], Steps[Any]],
) -> None:
    """A server that is full tells all of them the same."""
    refused = Reply(503, {"retry-after": "7"})
    each = [waits(refused, steps=begin()) for _ in range(20)]
    assert len({round(wait, 3) for (wait,) in each}) > 10


def test_a_server_that_asks_for_very_long_is_not_waited_for() -> None:
    with pytest.raises(ServerBusy):
        waits(Reply(503, {"retry-after": "61"}))


def test_failures_in_a_row_are_bounded() -> None:
    with pytest.raises(ConnectionLost):
        waits(*[LOST] * 4)


def test_an_entry_makes_the_failures_before_it_forgotten() -> None:
    thrice = [LOST, LOST, LOST]
    assert len(waits(*thrice, STREAM, entry(0), *thrice, STREAM, entry(1), *thrice)) == 9


def test_a_heartbeat_makes_the_failures_before_it_forgotten() -> None:
    """Else a job that thinks for long could not be followed through a proxy that cuts connections."""
    assert len(waits(*[LOST, LOST, STREAM, GREETING, b": ping\n", LOST] * 5)) == 15


def test_a_greeting_alone_does_not_make_the_failures_before_it_forgotten() -> None:
    """A server that crashes on every follower greets them first."""
    with pytest.raises(ConnectionLost):
        waits(*[STREAM, GREETING, LOST] * 4)


def test_a_server_that_ends_again_and_again_without_a_word_is_asked_at_its_own_pace() -> None:
    """That is how an overloaded server speaks to a browser."""
    assert waits(*[STREAM, GREETING, b""] * 3) == [0, 2.0, 2.0]


def test_a_request_that_could_not_be_sent_is_told_at_once() -> None:
    """Nothing is in doubt, and somebody may be waiting at a terminal."""
    with pytest.raises(ServerUnreachable):
        waits(NOT_SENT, steps=get("job_1", wait=None, retries=RETRIES))


def test_a_request_in_doubt_is_repeated_also_while_no_connection_can_be_made() -> None:
    assert len(waits(LOST, NOT_SENT, NOT_SENT, steps=get("job_1", wait=None, retries=RETRIES))) == 3


def test_who_waits_for_a_result_waits_also_while_no_connection_can_be_made() -> None:
    assert len(waits(NOT_SENT, NOT_SENT, NOT_SENT, steps=result("job_1", retries=RETRIES))) == 3
