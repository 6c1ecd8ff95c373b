"""Dead letters can be listed, looked at, run again and deleted."""

from __future__ import annotations

import pytest
from given import (
    RESULT,
    TENANT,
    chat,
    claimed,
    completed,
    enqueued,
    failed,
    lapse,
    read,
    redis_ms,
    written,
)
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.dead_letters import DeadLetters
from tokentail.shared.errors import JobNotFound, QueueFull
from tokentail.shared.events import Cancelled
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


@pytest.fixture
def letters(redis: Redis, queue: Queue, logs: Logs) -> DeadLetters:
    return DeadLetters(redis, queue, logs)


async def killer(queue: Queue, redis: Redis, content: str = "Hello") -> str:
    """A job that has killed two workers and been ended for it."""
    record, _ = await queue.enqueue(TENANT, chat(content, metadata={"user": "7"}), None)
    for worker in ("host-a:1:x", "host-b:2:y"):
        (claim,) = (await queue.claim(worker, 1)).jobs
        assert claim.job_id == record.id
        await lapse(redis, record.id)
        await queue.claim("who-looks", 0)
    claim = await claimed(queue)
    await written(redis, record.id, claim.fence, failed("worker_lost"))
    await queue.finish(record.id, claim.fence, Cursor(claim.fence, 0), failed("worker_lost"), RESULT)
    return record.id


async def test_the_newest_is_listed_first(letters: DeadLetters, queue: Queue, redis: Redis) -> None:
    ids = [await killer(queue, redis) for _ in range(3)]
    for number, job_id in enumerate(ids):
        await redis.zadd(keys.DEAD, {job_id: number})
    assert [record.id for record in await letters.list(10)] == ids[::-1]
    assert [record.id for record in await letters.list(2)] == ids[:0:-1]


async def test_a_letter_tells_what_it_asked_for_and_which_workers_it_killed(
    letters: DeadLetters, queue: Queue, redis: Redis
) -> None:
    letter = await letters.get(await killer(queue, redis, "poison"))
    assert letter.record.lost_workers == ("host-a:1:x", "host-b:2:y")
    assert letter.request is not None
    assert letter.request["call"]["messages"][0]["content"] == "poison"


async def test_a_letter_whose_record_has_expired_is_forgotten(
    letters: DeadLetters, queue: Queue, redis: Redis
) -> None:
    job_id = await killer(queue, redis)
    await redis.delete(keys.record(job_id))
    assert await letters.list(10) == []
    assert await redis.zcard(keys.DEAD) == 0


async def test_a_letter_is_kept_for_longer_than_a_job_that_ended_otherwise(
    queue: Queue, redis: Redis, settings: Settings
) -> None:
    job_id = await killer(queue, redis)
    for key in (keys.record(job_id), keys.request(job_id)):
        assert settings.record_ttl_seconds < await redis.ttl(key) <= settings.dead_ttl_seconds


async def test_a_letters_record_is_kept_no_shorter_than_that_of_other_jobs(redis: Redis) -> None:
    settings = Settings(dead_ttl_seconds=100, record_ttl_seconds=1000, log_ttl_seconds=10)
    job_id = await killer(Queue(redis, settings), redis)
    assert await redis.ttl(keys.record(job_id)) > settings.dead_ttl_seconds
    assert await redis.ttl(keys.request(job_id)) <= settings.dead_ttl_seconds


async def test_letters_that_are_no_longer_kept_leave_the_list_with_the_next_one(
    queue: Queue, redis: Redis, settings: Settings
) -> None:
    # Given a letter as old as it may be, and one that is nearly
    kept_ms = int(settings.dead_ttl_seconds * 1000)
    now = await redis_ms(redis)
    await redis.zadd(keys.DEAD, {"old": now - kept_ms, "young": now - kept_ms + 60_000})
    job_id = await killer(queue, redis)
    assert await redis.zrange(keys.DEAD, 0, -1) == [b"young", job_id.encode()]


async def test_a_job_that_was_found_out_and_is_cancelled_is_no_dead_letter(
    queue: Queue, redis: Redis
) -> None:
    # Given a job that somebody cancels while it kills its second worker
    record = await enqueued(queue)
    for worker in ("first", "second"):
        await claimed(queue, worker)
        if worker == "second":
            await queue.cancel(TENANT, record.id)
        await lapse(redis, record.id)
        await queue.claim("who-looks", 0)
    # When the next worker ends it as it was asked to
    claim = await claimed(queue)
    assert (claim.record.poison, claim.record.cancel) == (True, True)
    ending: Cancelled = {"type": "cancelled", "reason": "requested", "usage": None}
    await queue.finish(record.id, claim.fence, Cursor(claim.fence, 0), ending, RESULT)
    # Then nobody has to look at it
    assert await redis.zcard(keys.DEAD) == 0


async def test_a_worker_that_was_taken_for_dead_and_wakes_changes_no_letter(
    letters: DeadLetters, queue: Queue, redis: Redis
) -> None:
    job_id = await killer(queue, redis)
    letter = await letters.get(job_id)
    # When the second of the two workers says that it is alive
    fence = int(await redis.hget(keys.record(job_id), "lapsed") or 0)
    assert await queue.hand_back(job_id, fence, "lost") == "lost"
    # Then what happened has happened
    assert await letters.get(job_id) == letter


async def test_a_replay_is_a_new_job_with_the_same_request(
    letters: DeadLetters, queue: Queue, redis: Redis
) -> None:
    # Given a dead letter
    job_id = await killer(queue, redis, "poison")
    dead = await queue.get(TENANT, job_id)
    # When it is replayed
    again = await letters.replay(job_id)
    # Then a new job with the same request, metadata and tenant waits
    claim = await claimed(queue)
    assert claim.job_id == again.id != job_id
    assert claim.request is not None
    assert claim.request["call"]["messages"][0]["content"] == "poison"
    assert (again.tenant, again.model, again.metadata, again.crashes) == (
        *(TENANT, "demo", {"user": "7"}),
        0,
    )
    # And the dead one stays as it ended, though no longer on the list
    assert await queue.get(TENANT, job_id) == dead
    assert await letters.list(10) == []


async def test_a_replay_that_was_interrupted_makes_no_second_job(
    letters: DeadLetters, queue: Queue, redis: Redis
) -> None:
    # Given a replay that got as far as the new job
    job_id = await killer(queue, redis)
    first = await letters.replay(job_id)
    await redis.zadd(keys.DEAD, {job_id: 1})
    # When it is said again
    assert (await letters.replay(job_id)).id == first.id
    assert await redis.zcard(keys.READY) == 1


async def test_a_replay_into_a_full_queue_keeps_the_letter(queue: Queue, redis: Redis, logs: Logs) -> None:
    job_id = await killer(queue, redis)
    small = Queue(redis, Settings(max_queue=1))
    await enqueued(small)
    with pytest.raises(QueueFull):
        await DeadLetters(redis, small, logs).replay(job_id)
    assert await redis.zcard(keys.DEAD) == 1


async def test_a_letter_without_its_request_can_not_be_replayed(
    letters: DeadLetters, queue: Queue, redis: Redis
) -> None:
    job_id = await killer(queue, redis)
    await redis.delete(keys.request(job_id))
    with pytest.raises(JobNotFound, match="request"):
        await letters.replay(job_id)


async def test_a_purge_leaves_nothing(letters: DeadLetters, queue: Queue, redis: Redis, logs: Logs) -> None:
    job_id = await killer(queue, redis)
    await letters.purge(job_id)
    assert await queue.record(job_id) is None
    assert await read(logs, job_id) == []
    assert await redis.exists(keys.request(job_id), keys.DEAD) == 0


async def test_a_job_that_is_no_dead_letter_is_left_alone(
    letters: DeadLetters, queue: Queue, redis: Redis
) -> None:
    record = await enqueued(queue)
    claim = await claimed(queue)
    await queue.finish(record.id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    for deed in (letters.get, letters.replay, letters.purge):
        with pytest.raises(JobNotFound):
            await deed(record.id)
    assert await queue.record(record.id) is not None
