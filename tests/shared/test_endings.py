"""Where record and log disagree on an ending, either is repaired from the other, and the log wins."""

from __future__ import annotations

import asyncio
from typing import Any

from given import (
    TENANT,
    attempt,
    completed,
    delta,
    enqueued,
    failed,
    read,
    redis_ms,
    running,
    whole_log,
    written,
)
from redis.asyncio import Redis

from tokentail.shared import endings, keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.job import Record, Status
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue

CANCELLED: Any = {"type": "cancelled", "reason": "requested", "usage": None}


async def cancelled_in_queue(queue: Queue, record: Record) -> Record:
    await queue.cancel(TENANT, record.id)
    return await queue.get(TENANT, record.id)


async def test_a_job_cancelled_before_it_ran_gets_a_log_with_its_ending(
    queue: Queue, logs: Logs, redis: Redis
) -> None:
    record = await cancelled_in_queue(queue, await enqueued(queue))
    await endings.settled(queue, logs, record)
    # Then the log has the ending where the record says
    assert await whole_log(redis, record.id) == [(f"{record.fence}-0", CANCELLED)]
    assert 0 < await redis.ttl(keys.log(record.id)) <= queue.log_ttl_seconds
    # And the record knows that it has, with the result: nothing was said
    settled = await queue.get(TENANT, record.id)
    assert (settled.status, settled.ending, settled.cursor) == (record.status, CANCELLED, record.cursor)
    assert settled.ended == record.ended
    assert not settled.unlogged
    assert settled.result is not None
    assert settled.result["content"] is None


async def test_a_job_cancelled_between_attempts_keeps_what_was_said(
    queue: Queue, logs: Logs, redis: Redis
) -> None:
    # Given a job that said something, and went back to the queue
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt(), delta("Hel"))
    await queue.hand_back(claim.job_id, claim.fence, "handoff")
    # When it is cancelled there
    record = await cancelled_in_queue(queue, await queue.get(TENANT, claim.job_id))
    await endings.settled(queue, logs, record)
    # Then the ending stands behind what was said, and the result holds it
    assert [event["type"] for _, event in await whole_log(redis, record.id)] == [
        "attempt",
        "delta",
        "cancelled",
    ]
    settled = await queue.get(TENANT, record.id)
    assert settled.result is not None
    assert settled.result["content"] == "Hel"


async def test_the_log_wins_over_a_cancellation_that_came_too_late(
    queue: Queue, logs: Logs, redis: Redis
) -> None:
    # Given a job whose owner ended the log and died before it could say so; it went back to the queue
    claim = await running(queue)
    await written(redis, claim.job_id, claim.fence, attempt(), delta("Hi"), completed())
    await queue.hand_back(claim.job_id, claim.fence, "handoff")
    # When it is cancelled there
    record = await cancelled_in_queue(queue, await queue.get(TENANT, claim.job_id))
    assert record.status == Status.CANCELLED
    await endings.settled(queue, logs, record)
    # Then the record takes over what followers have seen
    settled = await queue.get(TENANT, claim.job_id)
    assert (settled.status, settled.ending) == (Status.COMPLETED, completed())
    assert settled.cursor == Cursor(claim.fence, 2)
    assert settled.result is not None
    assert (settled.result["content"], settled.result["finish_reason"]) == ("Hi", "stop")
    # And the log has one ending
    assert [event["type"] for _, event in await whole_log(redis, claim.job_id)] == [
        "attempt",
        "delta",
        "completed",
    ]


async def test_however_many_notice_at_once_there_is_one_ending(
    queue: Queue, logs: Logs, redis: Redis
) -> None:
    record = await cancelled_in_queue(queue, await enqueued(queue))
    await asyncio.gather(*(endings.settled(queue, logs, record) for _ in range(10)))
    await endings.settled(queue, logs, record)
    assert await whole_log(redis, record.id) == [(f"{record.fence}-0", CANCELLED)]
    assert (await queue.get(TENANT, record.id)).ending == CANCELLED


async def test_a_record_that_needs_nothing_is_left_alone(queue: Queue, logs: Logs, redis: Redis) -> None:
    # Given a queued, a running and a settled job
    settled = await cancelled_in_queue(queue, await enqueued(queue))
    await endings.settled(queue, logs, settled)
    claim = await running(queue)
    queued = await enqueued(queue)
    await logs.delete(settled.id)
    # When somebody looks at them
    for job_id in (settled.id, claim.job_id, queued.id):
        await endings.settled(queue, logs, await queue.get(TENANT, job_id))
    # Then no log came of it
    assert [key for key in await redis.keys("*") if key.endswith(b":log")] == []


async def test_an_ending_that_only_the_log_holds_is_told_to_the_record(
    queue: Queue, logs: Logs, redis: Redis
) -> None:
    # Given a worker that ended the log and died
    claim = await running(queue)
    entries = await written(redis, claim.job_id, claim.fence, attempt(), delta("Hi"), failed())
    # When somebody notices
    await endings.record_ending(queue, logs, claim.job_id, claim.fence, entries[-1])
    # Then the record says what the log says, and nobody runs the job again
    record = await queue.get(TENANT, claim.job_id)
    assert (record.status, record.ending, record.cursor) == ("failed", failed(), entries[-1].cursor)
    assert await redis.exists(keys.LEASES, keys.READY) == 0


async def test_the_fold_of_a_log_knows_how_far_it_read(logs: Logs, redis: Redis, queue: Queue) -> None:
    record = await enqueued(queue)
    empty, cursor = await endings.folded(logs, record.id)
    assert (cursor, empty.result()["content"]) == (None, None)
    await written(redis, record.id, 5, attempt(), delta("Hi"))
    fold, cursor = await endings.folded(logs, record.id)
    assert (cursor, fold.result()["content"]) == (Cursor(5, 1), "Hi")


async def test_an_ending_goes_behind_an_attempt_that_a_failover_has_forgotten(
    queue: Queue, logs: Logs, redis: Redis
) -> None:
    # Given a queued job whose log holds an attempt under a fence that its record does not know of
    record = await enqueued(queue)
    future = await redis_ms(redis) + 1_000_000
    await written(redis, record.id, future, attempt(), delta("Hi"))
    # When it is cancelled
    await queue.cancel(TENANT, record.id)
    ended = await endings.settled(queue, logs, await queue.get(TENANT, record.id))
    # Then log and record end, at the same place
    entries = await read(logs, record.id)
    assert entries[-1].is_ending
    assert (ended.status, ended.unlogged, ended.cursor) == ("cancelled", False, entries[-1].cursor)
