"""One log followed in several dialects at once, of which one can't take back what it has said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
from following import tails_at
from given import attempt, completed, delta, eventually, written
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import reader as reader_module
from tokentail.api.dialects.dialect import NATIVE, Dialect, Frames, Rendering
from tokentail.api.follower import Follower
from tokentail.api.tails import Tails
from tokentail.shared import events
from tokentail.shared import log as log_module
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id

FENCE, AGAIN = 1000, 2000


@dataclass(frozen=True)
class Numbers:
    """Numbers the deltas of an attempt, which no entry says of itself, and ends where another one begins."""

    name: str = "numbers"
    is_stateless: ClassVar[bool] = False

    def rendering(self) -> Rendering:
        count = 0

        def frames(entry_id: bytes, raw: bytes) -> Frames:
            nonlocal count
            kind = events.type_of(raw)
            if kind == "delta":
                count += 1
                return Frames(b"%d;" % count)
            if kind == "attempt":
                was, count = count, 0
                return Frames(b"void;", is_last=True) if was else Frames(b"")
            return Frames(b"end;")

        return frames

    def greeting(self, retry_ms: int) -> bytes:
        return b"hello;"

    def farewell(self) -> bytes:
        return b"more to come;"

    def reset(self, requested: str) -> bytes:
        return b"reset;"


@pytest.fixture
async def tails(redis_url: str) -> AsyncIterator[Tails]:
    async with tails_at(redis_url) as made:
        yield made


def follow(tails: Tails, job_id: str, dialect: Dialect, after: Cursor = START) -> tuple[Follower, Sink]:
    sink = Sink()
    return tails.follow(job_id, after, sink, dialect), sink


async def told(tails: Tails, job_id: str, dialect: Dialect = Numbers(), after: Cursor = START) -> bytes:
    """All that one is told who knows what is there before it begins."""
    follower, sink = follow(tails, job_id, dialect, after)
    await follower.known()
    follower.start()
    async with asyncio.timeout(20):
        await follower.over
    tails.leave(follower)
    return sink.raw


def content(sink: Sink) -> bytes:
    return sink.raw.removeprefix(b"hello;")


async def test_who_comes_in_another_dialect_gets_it_from_its_start_and_nobody_anything_twice(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "PAGE", 2)
    # Given a log that is followed, and one who comes late and speaks otherwise
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), *(delta(str(n)) for n in range(6)))
    first, one = follow(tails, job_id, NATIVE)
    first.start()
    await eventually(lambda: one.raw.count(b"id: ") == 7)
    second, other = follow(tails, job_id, Numbers())
    second.start()
    # When the log goes on while that one catches up
    for seq in range(7, 10):
        await written(redis, job_id, FENCE, delta(str(seq)), seq=seq)
    await written(redis, job_id, FENCE, completed(), seq=10)
    async with asyncio.timeout(20):
        await asyncio.gather(first.over, second.over)
    # Then both have everything once
    assert one.raw.count(b"id: ") == 11
    assert content(other) == b"1;2;3;4;5;6;7;8;9;end;"


async def test_a_dialect_is_rendered_once_for_all_that_ask_for_the_same(tails: Tails, redis: Redis) -> None:
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), delta("a"), completed())
    assert await told(tails, job_id, Numbers()) == await told(tails, job_id, Numbers()) == b"hello;1;end;"
    assert len(tails.all()) == 1
    await told(tails, job_id, Numbers("another"))
    assert len(tails.all()) == 2
    # And a job that is deleted is forgotten in all of them
    tails.forget_job(job_id)
    assert tails.all() == []
    assert tails.get(job_id, Numbers()) is None


async def test_who_has_been_told_what_is_void_is_told_so_and_nothing_more(tails: Tails, redis: Redis) -> None:
    # Given a follower in the middle of an attempt
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), delta("a"), delta("b"))
    follower, sink = follow(tails, job_id, Numbers())
    follower.start()
    await eventually(lambda: content(sink) == b"1;2;")
    # When another one begins, and goes on at once
    await written(redis, job_id, AGAIN, attempt(2, "lost"), delta("c"), completed())
    async with asyncio.timeout(20):
        await follower.over
    assert content(sink) == b"1;2;void;"
    # Then who comes now is told that attempt only
    assert await told(tails, job_id) == b"hello;1;end;"
    # And who goes on within the void one, the rest of that
    assert await told(tails, job_id, after=Cursor(FENCE, 1)) == b"hello;2;void;"
    assert await told(tails, job_id, after=Cursor(AGAIN, 1)) == b"hello;end;"


async def test_a_stream_that_ends_before_the_log_says_so(tails: Tails, redis: Redis) -> None:
    # Given followers of a log that goes on, of which one is let in as its process stops
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    follower, sink = follow(tails, job_id, Numbers())
    follower.start()
    await eventually(lambda: content(sink) == b"1;")
    late, its = follow(tails, job_id, Numbers())
    late.close()
    late.start()
    # When their streams are ended
    follower.close()
    follower.close()
    assert content(sink) == b"1;more to come;"
    assert content(its) == b"more to come;"
    # Then so they are when the log has gone, but not at its end, and not for a client that has gone
    third, gone = follow(tails, job_id, Numbers())
    third.start()
    fourth, lost = follow(tails, job_id, Numbers())
    fourth.start()
    lost.lose()
    await eventually(lambda: b"1;" in content(gone))
    tails.forget_job(job_id)
    assert content(gone) == b"1;more to come;"
    assert b"more" not in lost.raw


async def test_it_is_the_same_when_memory_was_short(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PAGE", 2)
    # Given a log of two attempts of which nothing is held
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), *(delta(str(n)) for n in range(5)))
    await written(redis, job_id, AGAIN, attempt(2, "lost"), *(delta(str(n)) for n in range(5)), completed())
    whole = await told(tails, job_id)
    assert whole == b"hello;1;2;3;4;5;end;"
    for tail in tails.all():
        tail.shed()
    # Then what is told is the same, from everywhere
    assert await told(tails, job_id) == whole
    assert await told(tails, job_id, after=Cursor(FENCE, 3)) == b"hello;4;5;void;"
    assert await told(tails, job_id, after=Cursor(AGAIN, 2)) == b"hello;3;4;5;end;"


class FilledBy(Sink):
    """One whose client can take no more as it is written something."""

    def __init__(self, last: bytes) -> None:
        super().__init__()
        self._last = last

    def writer(self) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            self.writes.append(data)
            if self._last in data and not self.is_full:
                self.fill()

        return write


async def test_who_is_filled_by_the_last_thing_it_is_told_is_told_nothing_more(
    tails: Tails, redis: Redis
) -> None:
    # Given a follower in the middle of an attempt
    job_id, sink = new_id(), FilledBy(b"void;")
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    follower = tails.follow(job_id, START, sink, Numbers())
    follower.start()
    await eventually(lambda: content(sink) == b"1;")
    # When its connection takes no more as it is told that another attempt begins, and then takes everything
    await written(redis, job_id, AGAIN, attempt(2, "lost"), delta("b"))
    await eventually(lambda: sink.is_full)
    sink.drain()
    await written(redis, job_id, AGAIN, delta("c"), completed(), seq=2)
    async with asyncio.timeout(20):
        await follower.over
    # Then it has been told nothing of that one
    assert content(sink) == b"1;void;"


async def test_what_is_void_while_it_is_read_again_ends_there(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PAGE", 2)
    # Given one who reads from Redis what is not held, and stops in the middle
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), *(delta(str(n)) for n in range(5)))
    first, _ = follow(tails, job_id, Numbers())
    first.start()
    await first.known()
    (tail,) = tails.all()
    tail.shed()
    second, slow = follow(tails, job_id, Numbers())
    second.start()
    slow.fill()
    await eventually(lambda: content(slow) != b"")
    assert content(slow) == b"1;"
    # When another attempt begins, and is not held either
    await written(redis, job_id, AGAIN, attempt(2, "lost"), delta("a"), completed())
    await eventually(lambda: tail.ended)
    tail.shed()
    slow.drain()
    async with asyncio.timeout(20):
        await second.over
    # Then it is told of that, and nothing of it
    assert content(slow) == b"1;2;3;4;5;void;"
