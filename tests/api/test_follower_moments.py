"""What may happen to a follower at an awkward moment: full, gone, closed, or not begun."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from filled_tail import add, frames, rows, said, stored, tail_of
from given import eventually
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import follower as follower_module
from tokentail.api.follower import Follower
from tokentail.api.tail import Tail
from tokentail.shared import log as log_module
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs

ROWS = rows()


async def turn() -> None:
    """Whatever is ready to run has run."""
    for _ in range(5):
        await asyncio.sleep(0)


New = Callable[..., tuple[Follower, Sink]]


@pytest.fixture
def new(logs: Logs) -> New:
    """Makes followers that have not begun."""

    def make(tail: Tail, after: Cursor = START) -> tuple[Follower, Sink]:
        sink = Sink()
        return Follower(tail, after, sink, logs), sink

    return make


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


# Reading again


@pytest.fixture
async def let_go(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Tail:
    """A log of several pages in Redis, of which nothing is held."""
    monkeypatch.setattr(log_module, "PAGE", 2)
    tail = tail_of(*ROWS[:-1])
    await stored(redis, tail, ROWS[:-1])
    tail.shed()
    return tail


async def test_who_reads_again_is_given_no_second_page_before_the_first_is_taken(
    new: New, let_go: Tail, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 0
    page = logs.page

    async def counted(*place: Any) -> Any:
        nonlocal pages
        pages += 1
        return await page(*place)

    monkeypatch.setattr(logs, "page", counted)
    follower, sink = new(let_go)
    follower.start()
    # Given a client that is full of the first page
    sink.fill()
    await eventually(lambda: said(sink) == frames(ROWS[:2]))
    # When there is room only for a moment; Then no other is read
    sink.drain()
    sink.fill()
    await turn()
    assert pages == 1
    # When there is room for good; Then it has everything once
    sink.drain()
    await eventually(lambda: follower in let_go.live)
    assert said(sink) == frames(ROWS[:-1])
    add(let_go, ROWS[-1])
    assert said(sink) == frames(ROWS)


async def test_whatever_happens_meanwhile_who_reads_again_reads_once(new: New, let_go: Tail) -> None:
    follower, sink = new(let_go)
    follower.start()
    # When there is room again and again, and something comes, while it reads
    for _ in range(3):
        sink.fill()
        sink.drain()
        follower.go_on()
        await asyncio.sleep(0)
    add(let_go, ROWS[-1])
    # Then all of it is told once
    async with asyncio.timeout(20):
        await follower.over
    assert said(sink) == frames(ROWS)


async def test_who_goes_while_it_reads_again_leaves_no_reading_behind(new: New, let_go: Tail) -> None:
    before = asyncio.all_tasks()
    follower, sink = new(let_go)
    follower.start()
    sink.fill()
    await eventually(lambda: said(sink) == frames(ROWS[:2]))
    assert asyncio.all_tasks() > before
    # When the client goes without having taken it
    sink.lose()
    await eventually(lambda: asyncio.all_tasks() <= before)
    assert said(sink) == frames(ROWS[:2])


async def test_who_goes_as_a_page_comes_is_not_given_it(
    new: New, let_go: Tail, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, asked = logs.page, asyncio.Event()

    async def comes_all_the_same(*place: Any) -> Any:
        # What `asyncio.wait_for` of Python 3.11 does with what is done as it is cancelled.
        if not asked.is_set():
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return await page(*place)

    monkeypatch.setattr(logs, "page", comes_all_the_same)
    follower, sink = new(let_go)
    follower.start()
    await asked.wait()
    reading = follower._replaying
    assert reading is not None
    # When the client goes in that moment
    sink.lose()
    # Then nothing is written to what is closed, and nothing more is read
    async with asyncio.timeout(20):
        await reading
    assert said(sink) == b""


async def test_who_reads_again_while_redis_is_away_goes_on_when_it_is_back(
    new: New, let_go: Tail, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, refusals = logs.page, iter(range(3))

    async def away_at_first(*place: Any) -> Any:
        if next(refusals, None) is not None:
            raise StoreUnavailable("Redis is away.")
        return await page(*place)

    monkeypatch.setattr(logs, "page", away_at_first)
    follower, sink = new(let_go)
    follower.start()
    add(let_go, ROWS[-1])
    async with asyncio.timeout(20):
        await follower.over
    assert said(sink) == frames(ROWS)


async def test_a_mistake_in_reading_again_ends_the_stream_and_does_not_leave_it_silent(
    new: New, let_go: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> AsyncIterator[tuple[bytes, int]]:
        raise ZeroDivisionError
        yield b"", 0

    monkeypatch.setattr(follower_module, "replay", broken)
    follower, _ = new(let_go)
    follower.start()
    reading = follower._replaying
    assert reading is not None
    async with asyncio.timeout(20):
        await follower.over
    with pytest.raises(ZeroDivisionError):
        await reading


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
