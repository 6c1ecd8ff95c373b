"""Which clients are found to take nothing, by what the system says that they have acknowledged."""

from __future__ import annotations

import pytest
from sink import Sink

from tokentail.api.follower import Follower
from tokentail.api.stuck import LOOKS, Stuck
from tokentail.api.tail import Tail
from tokentail.shared.cursor import START
from tokentail.shared.log import Logs
from tokentail.shared.one_server import OneServer

SEND_SECONDS = 20.0


@pytest.fixture
def logs() -> Logs:
    """Those of a Redis that nobody asks."""
    return Logs(OneServer("redis://127.0.0.1:1/0"))


def follower(logs: Logs) -> tuple[Follower, Sink]:
    sink = Sink()
    return Follower(Tail("job_1"), START, sink, logs), sink


@pytest.mark.parametrize(
    ("acknowledged", "is_found"),
    [
        ((100, 100, 100), True),
        ((100, 101, 101), False),  # It took a byte, and has time again.
        ((100, None, 100), False),  # It had everything in between.
        ((None, None, 100), False),
    ],
)
async def test_who_took_nothing_for_the_whole_deadline_is_found(
    logs: Logs, acknowledged: tuple[int | None, ...], is_found: bool
) -> None:
    # Given a client that is looked at when it begins, at half of its deadline, and behind that
    one, sink = follower(logs)
    stuck = Stuck(SEND_SECONDS, SEND_SECONDS / LOOKS)
    found = []
    for now, sink.acknowledged in zip((0.0, 10.0, 20.1), acknowledged, strict=True):
        found = stuck.look([one], now)
    assert found == ([one] if is_found else [])


async def test_who_has_left_is_not_found(logs: Logs) -> None:
    one, sink = follower(logs)
    sink.acknowledged = 100
    stuck = Stuck(SEND_SECONDS, SEND_SECONDS / LOOKS)
    stuck.look([one], 0.0)
    one.close()
    assert stuck.look([one], 20.1) == []


async def test_each_of_many_is_found_a_quarter_of_the_deadline_late_at_most(logs: Logs) -> None:
    # Given a hundred clients that take nothing, of whom a few are looked at four times a second
    some = [follower(logs) for _ in range(100)]
    for _, sink in some:
        sink.acknowledged = 0
    everybody = [one for one, _ in some]
    step = 0.25
    stuck = Stuck(SEND_SECONDS, step)
    # When that goes on for the deadline, and for the time of two looks at each beside that
    found, most = set(), 0
    for number in range(int(SEND_SECONDS * (1 + 2 / LOOKS) / step)):
        late = stuck.look(everybody, number * step)
        found |= set(late)
        most = max(most, len(late))
    # Then all have been found, and never many in one look
    assert found == set(everybody)
    assert most <= len(everybody) * LOOKS * step / SEND_SECONDS
