"""Followers that read again from Redis what memory has let go of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from filled_tail import FENCE, LOG, New, add, frames, rest, rows, said, stored, tail_of, turn
from given import eventually
from redis.asyncio import Redis

from tokentail.api import follower as follower_module
from tokentail.api.tail import Tail
from tokentail.shared import log as log_module
from tokentail.shared.cursor import START
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs

ROWS = rows()


async def test_from_every_cursor_the_rest_also_of_what_is_no_longer_held(follow: New, redis: Redis) -> None:
    # Given a log of two attempts in Redis, of which memory has let go at some place
    log = [*rows(log=LOG[:-1]), *rows(FENCE + 7)]
    for held_from in (1, 5, 12, len(log)):
        tail = tail_of(*log[:held_from])
        tail.shed()
        add(tail, *log[held_from:])
        await stored(redis, tail, log)
        # Then a client that comes with any cursor gets the rest
        for index, after in enumerate([START, *(cursor for cursor, _ in log)]):
            assert await rest(follow(tail, after)) == frames(log[index:])


async def test_who_reads_again_what_is_no_longer_held_goes_on_live(follow: New, redis: Redis) -> None:
    log = rows()
    tail = tail_of(*log[:4])
    # Given a Redis that is ahead of this process
    await stored(redis, tail, log[:6])
    tail.shed()
    followed = follow(tail)
    await eventually(lambda: said(followed[1]) == frames(log[:4]))
    # When the process has read on
    for row in log[4:]:
        add(tail, row)
    # Then nothing was told twice
    assert await rest(followed) == frames(log)


async def test_who_reads_again_waits_for_room(
    follow: New, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = rows()
    tail = tail_of(*log)
    await stored(redis, tail, log)
    tail.shed()
    # Given a client whose connection is full when the log is there
    follower, sink = follow(tail)
    sink.fill()
    await eventually(lambda: said(sink) == frames(log))
    assert not follower.over.done()
    sink.drain()
    assert await rest((follower, sink)) == frames(log)


async def test_a_log_that_goes_while_it_is_read_again_ends_its_follower(follow: New) -> None:
    # Given a log that memory has let go of and that Redis no longer has
    tail = tail_of(*rows()[:5])
    tail.shed()
    # Then who needs it is sent away, to be told what is true when it comes back
    assert await rest(follow(tail)) == b""


async def test_a_client_that_goes_while_the_log_is_read_again_leaves_nothing_behind(follow: New) -> None:
    tail = tail_of(*rows()[:5])
    tail.shed()
    follower, sink = follow(tail)
    task = follower._replaying
    assert task is not None
    sink.lose()
    async with asyncio.timeout(20):
        await asyncio.wait([task])
    assert said(sink) == b""


# At awkward moments


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
