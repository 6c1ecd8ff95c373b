"""A tail that is filled as a read fills it, and what its followers are told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
from given import attempt, completed, delta
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import sse
from tokentail.api.follower import Follower
from tokentail.api.tail import Tail
from tokentail.shared import events, keys
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.events import Event
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs

FENCE = 1000
LOG: list[Event] = [attempt(), *(delta(str(n)) for n in range(8)), completed()]

Row = tuple[Cursor, bytes]

#: What makes a follower of a tail, behind a cursor, and its client.
New = Callable[..., tuple[Follower, Sink]]


@pytest.fixture
def new(logs: Logs) -> New:
    """One that has not begun."""

    def make(tail: Tail, after: Cursor = START) -> tuple[Follower, Sink]:
        sink = Sink()
        return Follower(tail, after, sink, logs), sink

    return make


@pytest.fixture
def follow(new: New) -> New:
    """One that has."""

    def make(tail: Tail, after: Cursor = START) -> tuple[Follower, Sink]:
        follower, sink = new(tail, after)
        tail.followers.add(follower)
        follower.start()
        return follower, sink

    return make


def rows(fence: int = FENCE, log: list[Event] = LOG) -> list[Row]:
    return [(Cursor(fence, seq), events.encode(event)) for seq, event in enumerate(log)]


def tail_of(*log: Row) -> Tail:
    tail = Tail(new_id())
    add(tail, *log)
    return tail


def add(tail: Tail, *log: Row) -> None:
    """As a read does it."""
    since = tail.end
    for cursor, raw in log:
        tail.add(str(cursor).encode(), raw)
    tail.answered = tail.asked
    tail.deliver(since)


async def stored(redis: Redis, tail: Tail, log: list[Row]) -> None:
    """Where it is read again what the tail has let go of."""
    for cursor, raw in log:
        await redis.xadd(keys.log(tail.job_id), {"e": raw}, id=str(cursor))


def frames(log: list[Row]) -> bytes:
    return b"".join(sse.block(str(cursor).encode(), raw) for cursor, raw in log)


def said(sink: Sink) -> bytes:
    """All that was said behind the greeting."""
    return re.sub(rb"^: connected\nretry: \d+\n", b"", sink.raw)


async def rest(followed: tuple[Follower, Sink]) -> bytes:
    """All that it is told until its stream is over."""
    follower, sink = followed
    async with asyncio.timeout(20):
        await follower.over
    return said(sink)


async def turn() -> None:
    """Whatever is ready to run has run."""
    for _ in range(5):
        await asyncio.sleep(0)
