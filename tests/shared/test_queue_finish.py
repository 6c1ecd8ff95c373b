"""An ending is stored once, by the newest attempt, and sets every lifetime."""

from __future__ import annotations

from typing import Any

import pytest
from given import RESULT, TENANT, chat, claimed, completed, failed, lapse, running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.claim import Claim
from tokentail.shared.cursor import Cursor
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

CANCELLED: Any = {"type": "cancelled", "reason": "requested", "usage": None}


async def finish(queue: Queue, claim: Claim, ending: Any = None, seq: int = 3) -> str:
    cursor = Cursor(claim.fence, seq)
    return await queue.finish(claim.job_id, claim.fence, cursor, ending or completed(), RESULT)


@pytest.mark.parametrize("ending", [completed(), failed(), CANCELLED], ids=lambda ending: ending["type"])
async def test_the_record_holds_the_ending_as_the_log_does(queue: Queue, redis: Redis, ending: Any) -> None:
    claim = await running(queue)
    assert await finish(queue, claim, ending) == "finished"
    record = await queue.get(TENANT, claim.job_id)
    assert (record.status, record.ending, record.result) == (ending["type"], ending, RESULT)
    assert record.cursor == Cursor(claim.fence, 3)
    assert record.ended >= claim.now
    assert not record.unlogged
    # And nobody owns it any more
    assert await redis.exists(keys.LEASES, keys.READY) == 0


async def test_repeating_it_after_a_lost_reply_is_harmless(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await finish(queue, claim)
    before = await redis.hgetall(keys.record(claim.job_id))
    assert await finish(queue, claim) == "finished"
    assert await redis.hgetall(keys.record(claim.job_id)) == before


async def test_a_second_ending_is_refused(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await finish(queue, claim)
    before = await redis.hgetall(keys.record(claim.job_id))
    assert await finish(queue, claim, failed(), seq=4) == "lost"
    assert await redis.hgetall(keys.record(claim.job_id)) == before


async def test_a_stale_worker_finishes_nothing(queue: Queue, redis: Redis) -> None:
    # Given a job that was taken over
    stale = await running(queue, "worker-1")
    await lapse(redis, stale.job_id)
    owner = await claimed(queue, "worker-2")
    # When the old one comes back to finish it
    assert await finish(queue, stale) == "lost"
    # Then the new one's record and lease stand
    assert await queue.record(owner.job_id) == owner.record
    assert await redis.zrange(keys.LEASES, 0, -1) == [owner.job_id.encode()]


async def test_a_job_that_went_back_to_the_queue_can_be_finished_by_its_last_attempt(
    queue: Queue, redis: Redis
) -> None:
    # Given a worker that ended the log, then lost its lease; nobody has claimed the job since
    claim = await running(queue, "worker-1")
    await lapse(redis, claim.job_id)
    await queue.claim("nobody", 0)
    # When it finishes after all
    assert await finish(queue, claim) == "finished"
    # Then nobody claims the job any more
    assert not (await queue.claim("worker-2", 5)).jobs
    assert await redis.exists(keys.READY, keys.LEASES) == 0


async def test_a_deleted_job_stays_deleted(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await queue.delete(TENANT, claim.job_id)
    assert await finish(queue, claim) == "gone"
    assert await redis.exists(keys.record(claim.job_id)) == 0


async def test_record_request_and_key_live_as_long_as_they_were_promised(
    redis: Redis, redis_url: str
) -> None:
    # Given a job with an idempotency key, which all live for ever while it runs
    queue = Queue(redis, Settings(redis_url=redis_url, log_ttl_seconds=100, record_ttl_seconds=1000))
    record, _ = await queue.enqueue(TENANT, chat(), "key")
    claim = await claimed(queue)
    names = [
        keys.record(record.id),
        keys.idempotency(TENANT, "key"),
        keys.request(record.id),
    ]
    assert [await redis.pttl(name) for name in names] == [-1, -1, -1]
    # When it ends
    await finish(queue, claim)
    # Then the request goes with the log, and the key with the record
    record_ttl, key_ttl, request_ttl = [await redis.pttl(name) for name in names]
    assert 900_000 < record_ttl <= 1_000_000
    assert abs(record_ttl - key_ttl) <= 50
    assert 50_000 < request_ttl <= 100_000


async def test_what_only_a_running_job_needs_is_gone_after_it(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await finish(queue, claim)
    fields = await redis.hgetall(keys.record(claim.job_id))
    assert not {b"owner", b"envelope", b"unlogged"} & fields.keys()
