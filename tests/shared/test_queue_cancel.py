"""Cancel ends a queued job at once and tells a running one's owner; delete removes all there is."""

from __future__ import annotations

import pytest
from given import RESULT, TENANT, chat, claimed, completed, enqueued, running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import JobNotFound
from tokentail.shared.job import Status, new_id
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


async def test_a_queued_job_ends_at_once(queue: Queue, redis: Redis) -> None:
    record = await enqueued(queue)
    assert await queue.cancel(TENANT, record.id) == "cancelled"
    # Then its record holds the ending, with a fence of its own to stand in the log under
    ended = await queue.get(TENANT, record.id)
    assert ended.status == Status.CANCELLED
    assert ended.ending == {"type": "cancelled", "reason": "requested", "usage": None}
    assert ended.cursor == Cursor(ended.fence, 0)
    assert ended.fence >= record.created
    assert ended.ended >= record.created
    # And is marked until the log has it too
    assert ended.unlogged
    # And nobody claims it
    assert await redis.exists(keys.READY) == 0
    assert not (await queue.claim("worker", 5)).jobs


async def test_the_fence_of_a_cancelled_job_is_above_those_of_its_attempts(
    queue: Queue, redis: Redis
) -> None:
    # Given a job that ran once, by a clock that was ahead
    record = await enqueued(queue)
    await redis.hset(keys.record(record.id), "fence", 9_999_999_999_999)
    # When it is cancelled in the queue
    await queue.cancel(TENANT, record.id)
    assert (await queue.get(TENANT, record.id)).cursor == Cursor(10_000_000_000_000, 0)


async def test_a_job_cancelled_in_the_queue_lives_as_long_as_others_after_their_ending(
    redis: Redis, redis_url: str
) -> None:
    queue = Queue(redis, Settings(redis_url=redis_url, log_ttl_seconds=100, record_ttl_seconds=1000))
    record, _ = await queue.enqueue(TENANT, chat(), "key")
    await queue.cancel(TENANT, record.id)
    names = [keys.record(record.id), keys.idempotency(TENANT, "key"), keys.request(record.id)]
    record_ttl, key_ttl, request_ttl = [await redis.pttl(name) for name in names]
    assert 900_000 < record_ttl <= 1_000_000
    assert abs(record_ttl - key_ttl) <= 50
    assert 50_000 < request_ttl <= 100_000


async def test_the_owner_of_a_running_job_is_told(queue: Queue, redis: Redis) -> None:
    claim = await running(queue, "worker-1")
    assert await queue.cancel(TENANT, claim.job_id) == "cancelling"
    # Then a message waits for it, and its renewals say so too
    control = keys.control("worker-1")
    assert await redis.lrange(control, 0, -1) == [f"cancel {claim.job_id} {claim.fence}".encode()]
    assert 0 < await redis.ttl(control) <= keys.CONTROL_SECONDS
    assert await queue.renew("worker-1", [(claim.job_id, claim.fence)]) == ["cancel"]
    # And the job is still the owner's to end
    record = await queue.get(TENANT, claim.job_id)
    assert (record.status, record.cancel, record.ending) == (Status.RUNNING, True, None)


async def test_asking_again_asks_again(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    assert [await queue.cancel(TENANT, claim.job_id) for _ in range(2)] == ["cancelling", "cancelling"]
    assert (await queue.get(TENANT, claim.job_id)).status == Status.RUNNING


async def test_an_ended_job_stays_as_it_is(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    before = await redis.hgetall(keys.record(claim.job_id))
    assert await queue.cancel(TENANT, claim.job_id) == "ended"
    assert await redis.hgetall(keys.record(claim.job_id)) == before


async def test_cancelling_a_cancelled_job_changes_nothing(queue: Queue, redis: Redis) -> None:
    record = await enqueued(queue)
    await queue.cancel(TENANT, record.id)
    before = await redis.hgetall(keys.record(record.id))
    assert await queue.cancel(TENANT, record.id) == "ended"
    assert await redis.hgetall(keys.record(record.id)) == before


@pytest.mark.parametrize("deed", ["cancel", "delete", "get"])
async def test_an_unknown_job_and_somebody_elses_are_the_same(queue: Queue, redis: Redis, deed: str) -> None:
    # Given somebody else's job
    record, _ = await queue.enqueue("somebody-else", chat(), None)
    before = await redis.hgetall(keys.record(record.id))
    # Then we are told the same of it as of one that never was
    unknown = new_id()
    texts = []
    for job_id in (record.id, unknown):
        with pytest.raises(JobNotFound) as refusal:
            await getattr(queue, deed)(TENANT, job_id)
        texts.append(str(refusal.value).replace(job_id, "…"))
    assert texts[0] == texts[1]
    # And it is untouched
    assert await redis.hgetall(keys.record(record.id)) == before
    assert await redis.zcard(keys.READY) == 1


async def test_delete_leaves_nothing_of_a_queued_job(queue: Queue, redis: Redis) -> None:
    record, _ = await queue.enqueue(TENANT, chat(), "key")
    await redis.delete(keys.BELL)
    await queue.delete(TENANT, record.id)
    assert await redis.keys("*") == []


async def test_delete_leaves_nothing_of_a_running_job_but_word_to_its_owner(
    queue: Queue, redis: Redis
) -> None:
    await queue.enqueue(TENANT, chat(), "key")
    claim = await claimed(queue, "worker-1")
    await redis.delete(keys.BELL, keys.PACE, keys.claimed("worker-1"))  # These are not the job's.
    await queue.delete(TENANT, claim.job_id)
    assert await redis.keys("*") == [keys.control("worker-1").encode()]
    assert await redis.lrange(keys.control("worker-1"), 0, -1) == [
        f"gone {claim.job_id} {claim.fence}".encode()
    ]
    assert 0 < await redis.ttl(keys.control("worker-1")) <= keys.CONTROL_SECONDS


async def test_delete_leaves_nothing_of_an_ended_job(queue: Queue, redis: Redis) -> None:
    await queue.enqueue(TENANT, chat(), "key")
    claim = await claimed(queue)
    await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    await redis.delete(keys.BELL, keys.PACE, keys.claimed("worker-1"))  # These are not the job's.
    await queue.delete(TENANT, claim.job_id)
    assert await redis.keys("*") == []


async def test_a_deleted_jobs_key_makes_a_new_job(queue: Queue) -> None:
    first, _ = await queue.enqueue(TENANT, chat(), "key")
    await queue.delete(TENANT, first.id)
    second, is_new = await queue.enqueue(TENANT, chat(), "key")
    assert is_new
    assert second.id != first.id
