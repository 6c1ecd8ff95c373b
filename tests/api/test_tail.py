"""A follower is a cursor into its tail: it sees everything after it, once, in order."""

from __future__ import annotations

import asyncio
import re

import pytest
from filled_tail import FENCE, New, add, frames, rest, rows, said, tail_of
from given import delta, eventually
from hypothesis import given
from hypothesis import strategies as st

from tokentail.api import sse
from tokentail.api import tail as tail_module
from tokentail.api.follower import RETRY_MS
from tokentail.api.tail import Tail
from tokentail.shared import events
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id


async def test_from_every_cursor_the_rest_and_nothing_else(follow: New) -> None:
    log = rows()
    tail = tail_of(*log)
    assert await rest(follow(tail)) == frames(log)
    for index, (cursor, _) in enumerate(log):
        assert await rest(follow(tail, cursor)) == frames(log[index + 1 :])


async def test_what_comes_later_is_told_as_it_comes(follow: New) -> None:
    log = rows()
    tail = tail_of(*log[:3])
    _, sink = follow(tail, log[1][0])
    assert said(sink) == frames(log[2:3])
    add(tail, log[3])
    assert said(sink) == frames(log[2:4])
    add(tail, *log[4:7])
    assert said(sink) == frames(log[2:7])
    # And what comes at once goes out at once
    assert len(sink.writes) == 4


@pytest.mark.parametrize(
    "cursor", [Cursor(FENCE, 99), Cursor(FENCE + 1, 0), Cursor(FENCE - 1, 3), Cursor(1, 1)]
)
async def test_a_cursor_that_can_not_be_proven_is_told_so_and_gets_everything(
    follow: New, cursor: Cursor
) -> None:
    log = rows()
    assert await rest(follow(tail_of(*log), cursor)) == sse.reset(str(cursor)) + frames(log)


async def test_before_the_log_is_read_a_cursor_is_neither_proven_nor_refused(follow: New) -> None:
    # Given a log of which the beginning is there
    log = rows()
    tail = tail_of(*log[:4])
    tail.asked += 1
    _, sink = follow(tail, log[5][0])
    assert said(sink) == b""
    # When the rest arrives
    add(tail, *log[4:])
    assert said(sink) == frames(log[6:])


async def test_the_retry_stands_before_the_first_block_and_differs_between_clients(follow: New) -> None:
    waits = set()
    for _ in range(20):
        _, sink = follow(tail_of(*rows()))
        match = re.match(rb": connected\nretry: (\d+)\nid: ", sink.raw)
        assert match is not None
        waits.add(int(match[1]))
        assert sink.raw.count(b"retry") == 1
    assert len(waits) > 1
    assert all(RETRY_MS[0] <= wait <= RETRY_MS[1] for wait in waits)


async def test_a_client_far_behind_catches_up_in_pieces(follow: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "PIECE_BYTES", 200)
    log = rows()
    follower, sink = follow(tail_of(*log))
    # Others get their turn in between
    assert len(sink.writes) == 2
    assert await rest((follower, sink)) == frames(log)
    assert len(sink.writes) > 3
    assert all(piece.endswith(b"\n\n\r\n") for piece in sink.writes[1:])


async def test_a_client_whose_connection_is_full_is_given_nothing_and_then_all_of_it(follow: New) -> None:
    # Given a client that takes nothing more, and another one
    log = rows()
    tail = tail_of(*log[:2])
    follower, slow = follow(tail)
    _, quick = follow(tail)
    slow.fill()
    before = len(slow.writes)
    # When more is said
    for row in log[2:6]:
        add(tail, row)
    # Then the other hears it, and nothing piles up for the slow one
    assert said(quick) == frames(log[:6])
    assert len(slow.writes) == before
    # And when it takes something again it gets what it missed in one write, and then hears the rest live
    slow.drain()
    await eventually(lambda: said(slow) == frames(log[:6]))
    assert len(slow.writes) == before + 1
    add(tail, *log[6:])
    assert await rest((follower, slow)) == frames(log)


async def test_a_client_that_is_filled_by_the_news_misses_nothing_of_it(follow: New) -> None:
    # Given a connection that says while it is written to that it can take no more
    log = rows()
    tail = tail_of(*log[:1])
    follower, sink = follow(tail)

    def take_and_be_full(data: bytes) -> None:
        sink.writes.append(data)
        sink.fill()

    follower._write = take_and_be_full
    tail.live[follower] = take_and_be_full
    add(tail, log[1])
    add(tail, log[2])
    assert said(sink) == frames(log[:2])
    # When there is room
    sink.drain()
    # Then it goes on behind what it was given
    await eventually(lambda: said(sink) == frames(log[:3]))


async def test_a_turn_that_comes_late_tells_nothing_twice(follow: New) -> None:
    # Given a client that took something again, and got everything before its turn came
    log = rows()
    tail = tail_of(*log[:2])
    follower, sink = follow(tail)
    sink.fill()
    sink.drain()
    follower.go_on()
    # When more is said before that turn
    add(tail, log[2])
    assert said(sink) == frames(log[:3])
    # Then it is told once
    turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    await turn.wait()
    assert said(sink) == frames(log[:3])


async def test_a_follower_that_is_full_when_the_log_ends_is_told_the_ending(follow: New) -> None:
    log = rows()
    tail = tail_of(*log[:3])
    follower, sink = follow(tail)
    sink.fill()
    add(tail, *log[3:])
    assert not follower.over.done()
    sink.drain()
    assert await rest((follower, sink)) == frames(log)


async def test_a_ping_ends_no_block_and_is_not_put_upon_who_takes_nothing(follow: New) -> None:
    log = rows()
    follower, sink = follow(tail_of(log[0]))
    follower.ping()
    assert said(sink) == frames(log[:1]) + sse.PING
    sink.fill()
    follower.ping()
    assert said(sink) == frames(log[:1]) + sse.PING


async def test_a_closed_follower_is_told_nothing_more(follow: New) -> None:
    log = rows()
    tail = tail_of(*log[:2])
    follower, sink = follow(tail)
    for _ in range(2):
        follower.close()
        assert follower.over.done()
    add(tail, *log[2:])
    follower.ping()
    assert said(sink) == frames(log[:2])


async def test_a_client_that_goes_is_followed_by_nothing(follow: New) -> None:
    tail = tail_of(*rows()[:2])
    follower, sink = follow(tail)
    sink.lose()
    assert follower.over.done()
    assert not tail.live


async def test_a_log_that_is_gone_ends_its_followers_after_what_there_was(follow: New) -> None:
    log = rows()[:3]
    tail = tail_of(*log)
    followed = follow(tail)
    tail.gone = True
    tail.deliver(tail.end)
    assert await rest(followed) == frames(log)


async def test_a_log_that_is_gone_before_it_was_read_ends_with_nothing_but_a_reset(follow: New) -> None:
    tail = Tail(new_id())
    tail.gone = True
    assert await rest(follow(tail)) == b""
    assert await rest(follow(tail, Cursor(5, 5))) == sse.reset("5-5")


async def test_a_follower_at_the_ending_ends_with_nothing(follow: New) -> None:
    log = rows()
    assert await rest(follow(tail_of(*log), log[-1][0])) == b""


async def test_an_ending_makes_a_tail_over() -> None:
    log = rows()
    tail = tail_of(*log[:-1])
    assert not tail.is_over
    add(tail, log[-1])
    assert (tail.ended, tail.is_over, tail.position) == (True, True, str(log[-1][0]).encode())


# Cursors


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.data())
def test_a_cursor_is_proven_exactly_if_the_log_holds_it(lengths: list[int], data: st.DataObject) -> None:
    async def check() -> None:
        tail = Tail(new_id())
        cursors = [
            Cursor(10 * number, seq) for number, length in enumerate(lengths, 1) for seq in range(length)
        ]
        for cursor in cursors:
            tail.add(str(cursor).encode(), events.encode(delta("x")))
        fence = st.integers(1, 10 * len(lengths) + 5)
        for cursor in [*cursors, Cursor(data.draw(fence), data.draw(st.integers(0, 40)))]:
            number = tail.number_after(cursor)
            if cursor in cursors:
                assert number == cursors.index(cursor) + 1
                assert tail.cursor_before(number) == cursor
            else:
                assert number is None
        assert tail.number_after(START) == 0
        assert tail.cursor_before(0) == START

    asyncio.run(check())
