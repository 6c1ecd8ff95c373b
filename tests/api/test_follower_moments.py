"""What may happen to a follower at an awkward moment: full, gone, closed, or not begun."""

from __future__ import annotations

import asyncio

import pytest
from filled_tail import New, add, frames, rows, said, tail_of, turn
from sink import Sink

from tokentail.api.follower import Follower
from tokentail.api.tail import Tail
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs

ROWS = rows()


# Before the beginning


async def test_nothing_is_written_before_the_head_of_the_answer(new: New) -> None:
    # Given a client that waits for what is there to be known
    tail = tail_of(*ROWS[:2])
    tail.asked += 1
    follower, sink = new(tail)
    known = asyncio.create_task(follower.known())
    await turn()
    # When it is known, and the clock wants a sign of life
    add(tail, *ROWS[2:4])
    await known
    follower.ping()
    assert sink.writes == []
    # Then it is told all of it once it may be
    follower.start()
    assert said(sink) == frames(ROWS[:4])


async def test_a_client_that_left_before_the_beginning_is_written_nothing(new: New) -> None:
    tail = tail_of(*ROWS[:2])
    follower, sink = new(tail)
    sink.lose()
    follower.start()
    assert (sink.writes, follower.over.done()) == ([], True)
    add(tail, ROWS[2])
    assert sink.writes == []


@pytest.mark.parametrize("has_begun", [False, True])
async def test_who_takes_nothing_of_an_earlier_answer_counts_as_full(logs: Logs, has_begun: bool) -> None:
    # Given a client whose connection is full of what it was told before
    tail, sink = tail_of(*ROWS[:2]), Sink()
    sink.fill()
    follower = Follower(tail, START, sink, logs)
    # Then its time runs, and it is told more when it has taken that
    assert follower.full_since is not None
    if has_begun:
        follower.start()
        assert follower.full_since is not None
        assert said(sink) == b""
    sink.drain()
    if not has_begun:
        follower.start()
    await turn()
    assert follower.full_since is None
    assert said(sink) == frames(ROWS[:2])


# Full


async def test_a_connection_that_the_past_has_filled_is_not_given_the_present(new: New) -> None:
    # Given a client whose connection is full of what there was
    tail = tail_of(*ROWS[:3])
    follower, sink = new(tail)

    def take_and_be_full(data: bytes) -> None:
        sink.writes.append(data)
        sink.fill()

    follower._write = take_and_be_full
    sink.is_full = False
    follower.start()
    sink.drain()
    await turn()
    assert said(sink) == frames(ROWS[:3])
    # When more comes
    writes = len(sink.writes)
    add(tail, ROWS[3])
    add(tail, ROWS[4])
    # Then nothing piles up, and it is told that when there is room
    assert len(sink.writes) == writes
    sink.drain()
    await turn()
    assert said(sink) == frames(ROWS[:5])


async def test_a_connection_that_fills_again_at_once_is_given_nothing(new: New) -> None:
    tail = tail_of(ROWS[0])
    follower, sink = new(tail)
    follower.start()
    sink.fill()
    add(tail, ROWS[1])
    # When there is room, and at once no more
    sink.drain()
    sink.fill()
    await turn()
    assert said(sink) == frames(ROWS[:1])
    sink.drain()
    await turn()
    assert said(sink) == frames(ROWS[:2])


async def test_room_that_comes_too_late_brings_nothing(new: New) -> None:
    tail = tail_of(ROWS[0])
    follower, sink = new(tail)
    follower.start()
    sink.fill()
    add(tail, ROWS[1])
    # When the stream is ended in the moment in which there is room
    sink.drain()
    follower.close()
    await turn()
    add(tail, ROWS[2])
    assert said(sink) == frames(ROWS[:1])


# What is left


async def test_who_goes_before_it_was_told_anything_is_waited_for_by_nobody(new: New) -> None:
    # Given a cursor of which nobody knows yet whether the log holds it
    tail = Tail(new_id())
    tail.asked += 1
    follower, sink = new(tail, Cursor(1, 1))
    follower.start()
    assert tail.waiting == {follower}
    sink.lose()
    assert tail.waiting == set()


async def test_silence_counts_from_what_was_said_last_not_from_who_came_last(new: New) -> None:
    tail = tail_of(ROWS[0])
    new(tail)[0].start()
    # Given a follower that was told something long ago
    tail.told_at -= 100
    long_ago = tail.told_at
    # When somebody comes, and a read brings nothing
    add(tail)
    assert tail.told_at == long_ago
    # And when one brings something
    add(tail, ROWS[1])
    assert tail.told_at > long_ago
