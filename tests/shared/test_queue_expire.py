"""A job that waited too long is ended and never started."""

from __future__ import annotations

from given import TENANT, claimed, clock_passes, enqueued, read, redis_ms, running
from redis.asyncio import Redis

from tokentail.shared import endings, keys
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


def impatient(redis: Redis, **settings: float) -> Queue:
    return Queue(redis, Settings(**{"queue_seconds": 0.02, **settings}))


async def test_a_job_that_nobody_claimed_in_time_fails_with_deadline_exceeded(
    redis: Redis, logs: Logs
) -> None:
    # Given a job that waits, and no worker
    queue = impatient(redis)
    record = await enqueued(queue)
    assert await queue.expire() == []
    await clock_passes(redis, record.start_by)
    # When the queue is looked through
    assert await queue.expire() == [record.id]
    # Then the job has failed, can't be claimed any more, and its log is told by whoever sees the record
    assert not (await queue.claim("worker", 5)).jobs
    ended = await endings.settled(queue, logs, await queue.get(TENANT, record.id))
    assert (ended.status, ended.unlogged) == ("failed", False)
    assert ended.ending is not None
    assert ended.ending["error"]["code"] == "deadline_exceeded"  # type: ignore[typeddict-item]
    (entry,) = await read(logs, record.id)
    assert entry.event() == ended.ending
    # And it happens once
    assert await queue.expire() == []


async def test_it_expires_like_any_job_that_has_ended(redis: Redis) -> None:
    queue = impatient(redis, log_ttl_seconds=100, record_ttl_seconds=1000)
    record, _ = await queue.enqueue_again(TENANT, "demo", {"call": {}}, {}, "key")
    await clock_passes(redis, record.start_by)
    await queue.expire()
    assert 0 < await redis.pttl(keys.request(record.id)) <= 100_000
    assert 900_000 < await redis.pttl(keys.record(record.id)) <= 1_000_000
    assert 900_000 < await redis.pttl(keys.idempotency(TENANT, "key")) <= 1_000_000


async def test_a_running_job_is_left_alone(redis: Redis) -> None:
    queue = impatient(redis)
    claim = await running(queue)
    await clock_passes(redis, claim.record.start_by)
    assert await queue.expire() == []


async def test_a_job_that_has_begun_once_may_begin_again_until_its_deadline(redis: Redis) -> None:
    # Given a job that was claimed in time and came back
    queue = impatient(redis)
    claim = await running(queue)
    await queue.hand_back(claim.job_id, claim.fence, "handoff")
    await clock_passes(redis, claim.record.start_by)
    # Then it waits on
    assert await queue.expire() == []
    assert (await claimed(queue)).job_id == claim.job_id


async def test_its_deadline_ends_also_a_job_that_had_begun(redis: Redis) -> None:
    queue = impatient(redis, deadline_seconds=0.05)
    claim = await running(queue)
    await queue.hand_back(claim.job_id, claim.fence, "retry", 600)
    await clock_passes(redis, claim.record.deadline)
    assert await queue.expire() == [claim.job_id]


async def test_a_suspect_does_not_wait_for_ever_either(redis: Redis) -> None:
    queue = impatient(redis, deadline_seconds=0.05)
    claim = await running(queue, "dead")
    await redis.zadd(keys.LEASES, {claim.job_id: 1})
    await queue.claim("who-looks", 0)
    await clock_passes(redis, claim.record.deadline)
    assert await queue.expire() == [claim.job_id]
    assert await redis.zcard(keys.SUSPECTS) == 0


async def test_a_job_may_not_wait_longer_than_it_may_live(redis: Redis) -> None:
    record = await enqueued(impatient(redis, queue_seconds=100, deadline_seconds=5))
    assert record.start_by == record.deadline
    assert record.deadline - await redis_ms(redis) <= 5000


async def test_without_any_worker_a_dead_ones_job_ends_at_its_deadline(redis: Redis) -> None:
    # Given a running job whose worker is dead, and no other
    queue = impatient(redis, deadline_seconds=0.05)
    claim = await running(queue, "dead")
    await redis.zadd(keys.LEASES, {claim.job_id: 1})
    await clock_passes(redis, claim.record.deadline)
    # Then it ends all the same
    assert await queue.expire() == [claim.job_id]
    assert (await queue.get(TENANT, claim.job_id)).status == "failed"


async def test_without_any_worker_a_cancelled_job_of_a_dead_one_ends(redis: Redis) -> None:
    queue = Queue(redis, Settings())
    claim = await running(queue, "dead")
    assert await queue.cancel(TENANT, claim.job_id) == "cancelling"
    await redis.zadd(keys.LEASES, {claim.job_id: 1})
    assert await queue.expire() == [claim.job_id]
    assert (await queue.get(TENANT, claim.job_id)).status == "cancelled"
