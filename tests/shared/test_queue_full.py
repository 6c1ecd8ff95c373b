"""A full queue says when to come back, by the pace at which jobs leave it."""

from __future__ import annotations

import pytest
from given import claimed, clock_passes, enqueued, lapse, redis_ms
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import queue as queue_module
from tokentail.shared.errors import QueueFull
from tokentail.shared.pace import retry_after_seconds
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


def small(redis: Redis, max_queue: int = 3) -> Queue:
    return Queue(redis, Settings(max_queue=max_queue))


async def refused(queue: Queue) -> int:
    with pytest.raises(QueueFull) as full:
        await enqueued(queue)
    return full.value.retry_after_seconds


async def test_a_queue_that_nothing_leaves_asks_for_the_longest_patience(redis: Redis) -> None:
    queue = small(redis)
    for _ in range(3):
        await enqueued(queue)
    assert await refused(queue) == 60


async def test_jobs_that_leave_shorten_the_wait(redis: Redis) -> None:
    # Given a queue that twelve jobs have left within a moment, and that is full again
    queue = small(redis)
    for _ in range(12):
        await enqueued(queue)
        await claimed(queue)
    for _ in range(3):
        await enqueued(queue)
    # Then there should be room as soon as one more has left, at 12 in 30 s
    assert await refused(queue) == 3


async def test_the_pace_is_forgotten_when_nothing_leaves_any_more(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "PACE_SECONDS", 0.01)
    queue = small(redis)
    for _ in range(5):
        await enqueued(queue)
        await claimed(queue)
    for _ in range(3):
        await enqueued(queue)
    assert await refused(queue) == 1
    await clock_passes(redis, await redis_ms(redis) + 300)
    assert await refused(queue) == 60


async def test_suspects_take_room_in_the_queue_too(redis: Redis) -> None:
    queue = small(redis, 1)
    await enqueued(queue)
    claim = await claimed(queue, "dead")
    await lapse(redis, claim.job_id)
    await queue.claim("who-looks", 0)
    assert await redis.zcard(keys.SUSPECTS) == 1
    await refused(queue)


@given(st.integers(1, 1_000_000), st.floats(0, 1e6))
def test_the_wait_is_bounded_and_falls_as_the_pace_rises(max_queue: int, pace: float) -> None:
    wait = retry_after_seconds(max_queue, pace)
    assert 1 <= wait <= 60
    assert retry_after_seconds(max_queue, pace * 2) <= wait
