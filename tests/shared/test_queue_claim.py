"""A claim makes a worker the newest attempt of ripe jobs, and brings lapsed ones back first."""

from __future__ import annotations

import asyncio

import pytest
from given import (
    RESULT,
    TENANT,
    chat,
    claimed,
    clock_passes,
    completed,
    enqueued,
    eventually,
    lapse,
    running,
)
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.job import Status
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


async def test_jobs_are_claimed_in_the_order_they_came(queue: Queue) -> None:
    ids = []
    for _ in range(4):
        record = await enqueued(queue)
        ids.append((record.created, record.id))
    first = await queue.claim("worker-1", 3)
    second = await queue.claim("worker-2", 3)
    assert [claim.job_id for claim in first.jobs + second.jobs] == [job_id for _, job_id in sorted(ids)]
    assert len(first.jobs) == 3


async def test_a_claim_says_all_that_an_attempt_needs(queue: Queue, redis: Redis) -> None:
    record = await enqueued(queue)
    claim = await claimed(queue, "worker-1")
    assert claim.job_id == record.id
    assert (claim.record.status, claim.record.attempt, claim.record.reason) == (Status.RUNNING, 1, "start")
    assert claim.record.started == claim.now >= record.created
    assert claim.fence == claim.record.fence
    # And the record in Redis says the same
    assert await queue.record(record.id) == claim.record
    assert await redis.hget(keys.record(record.id), "owner") == b"worker-1"


async def test_a_lease_runs_from_the_claim(queue: Queue, redis: Redis, settings: Settings) -> None:
    claim = await running(queue)
    assert await redis.zscore(keys.LEASES, claim.job_id) == claim.now + settings.lease_seconds * 1000


async def test_two_workers_never_claim_the_same_job(queue: Queue) -> None:
    for _ in range(30):
        await enqueued(queue)
    claims = await asyncio.gather(*(queue.claim(f"worker-{n}", 4) for n in range(10)))
    ids = [claim.job_id for each in claims for claim in each.jobs]
    assert len(ids) == len(set(ids)) == 30


async def test_the_first_fence_is_redis_time(queue: Queue) -> None:
    claim = await running(queue)
    assert claim.fence == claim.now


async def test_a_fence_rises_also_when_the_clock_does_not(queue: Queue, redis: Redis) -> None:
    # Given a job whose last fence was handed out by a clock that was ahead
    record = await enqueued(queue)
    future = 99_999_999_999_999
    await redis.hset(keys.record(record.id), "fence", future)
    # Then its next one is greater all the same, digit by digit
    claim = await claimed(queue)
    assert claim.fence == future + 1
    assert await redis.hget(keys.record(record.id), "fence") == b"100000000000000"


async def test_a_fence_is_at_least_the_time_so_that_a_forgotten_claim_is_not_handed_out_again(
    queue: Queue, redis: Redis
) -> None:
    # Given a claim that Redis then forgets, as a failover may
    first = await running(queue)
    await redis.hset(keys.record(first.job_id), mapping={"status": "queued", "fence": 0})
    await redis.zrem(keys.LEASES, first.job_id)
    await redis.zadd(keys.READY, {first.job_id: 0})
    await clock_passes(redis, first.now)
    # Then the next fence is another
    assert (await claimed(queue)).fence > first.fence


async def test_a_lapsed_job_is_claimed_again_in_the_same_call_and_counts_as_a_crash(
    queue: Queue, redis: Redis
) -> None:
    # Given a worker that no longer renews
    first = await running(queue, "dead")
    await clock_passes(redis, first.now)
    await lapse(redis, first.job_id)
    # When another claims
    second = await claimed(queue, "alive")
    # Then it has the job, with a higher fence and the reason
    assert second.job_id == first.job_id
    assert second.fence > first.fence
    assert (second.record.attempt, second.record.reason) == (2, "lost")
    assert (second.record.crashes, second.record.tries, second.record.handoffs) == (1, 0, 0)
    # And the time it first began stands
    assert second.record.started == first.record.started


async def test_a_lapsed_job_goes_before_those_that_came_later(queue: Queue, redis: Redis) -> None:
    first = await running(queue, "dead")
    await clock_passes(redis, first.record.created)
    later = await enqueued(queue)
    await clock_passes(redis, later.created)
    await lapse(redis, first.job_id)
    assert (await claimed(queue)).job_id == first.job_id


async def test_also_a_claim_without_free_slots_brings_lapsed_jobs_back(queue: Queue, redis: Redis) -> None:
    first = await running(queue, "dead")
    await lapse(redis, first.job_id)
    assert not (await queue.claim("full", 0)).jobs
    assert (await queue.get(TENANT, first.job_id)).status == Status.QUEUED
    assert await redis.exists(keys.LEASES) == 0


async def test_a_held_lease_does_not_lapse(queue: Queue) -> None:
    await running(queue, "alive")
    assert not (await queue.claim("other", 5)).jobs


async def test_a_lease_of_a_job_that_was_deleted_is_dropped(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await redis.delete(keys.record(claim.job_id))
    await lapse(redis, claim.job_id)
    assert not (await queue.claim("other", 5)).jobs
    assert await redis.zcard(keys.LEASES) == await redis.zcard(keys.READY) == 0


async def test_a_lease_that_outlived_its_job_is_dropped_and_the_ending_stands(
    queue: Queue, redis: Redis
) -> None:
    # Given a job that has ended, and a lease of it that somebody has put back
    claim = await running(queue)
    await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    await redis.zadd(keys.LEASES, {claim.job_id: 1})
    before = await redis.hgetall(keys.record(claim.job_id))
    # When somebody claims
    assert not (await queue.claim("other", 5)).jobs
    # Then nothing runs again
    assert await redis.hgetall(keys.record(claim.job_id)) == before
    assert await redis.exists(keys.LEASES, keys.READY, keys.SUSPECTS) == 0


async def test_a_queued_job_that_was_deleted_is_passed_over(queue: Queue, redis: Redis) -> None:
    gone, there = await enqueued(queue), await enqueued(queue)
    await redis.delete(keys.record(gone.id))
    assert [claim.job_id for claim in (await queue.claim("worker", 5)).jobs] == [there.id]
    assert await redis.exists(keys.record(gone.id)) == 0


async def test_an_idle_queue_says_wait_for_the_bell(queue: Queue) -> None:
    assert (await queue.claim("worker", 5)).wait_seconds is None


async def test_a_claim_says_when_the_next_lease_lapses(queue: Queue, settings: Settings) -> None:
    await enqueued(queue)
    claims = await queue.claim("worker", 5)
    assert claims.wait_seconds == settings.lease_seconds


async def test_a_claim_that_leaves_ripe_jobs_behind_says_so_and_rings_for_another_worker(
    queue: Queue, redis: Redis
) -> None:
    # Given two jobs, and a worker that heard the bell and has one slot
    await enqueued(queue)
    await enqueued(queue)
    await redis.delete(keys.BELL)
    # When it claims
    claims = await queue.claim("worker", 1)
    # Then the bell is there for the next, once
    assert claims.wait_seconds == 0
    assert await redis.llen(keys.BELL) == 1
    await enqueued(queue)
    await queue.claim("busy", 0)
    assert await redis.llen(keys.BELL) == 1
    # And not when nothing is left
    await redis.delete(keys.BELL)
    await queue.claim("worker", 5)
    assert await redis.llen(keys.BELL) == 0


async def test_a_delayed_job_is_not_claimed_early(queue: Queue, redis: Redis) -> None:
    # Given a job that goes back for half a minute
    claim = await running(queue)
    await queue.hand_back(claim.job_id, claim.fence, "retry", 30.0)
    await redis.delete(keys.BELL)
    # Then a claim does not bring it, but says when to come back, and rings for nobody
    claims = await queue.claim("worker", 5)
    assert not claims.jobs
    assert claims.wait_seconds == pytest.approx(30, abs=15)
    assert claims.wait_seconds <= 30
    assert await redis.llen(keys.BELL) == 0


async def test_a_delayed_job_is_claimed_when_its_time_has_come(queue: Queue) -> None:
    claim = await running(queue)
    await queue.hand_back(claim.job_id, claim.fence, "retry", 0.05)

    async def claim_again() -> list[object]:
        return list((await queue.claim("worker", 5)).jobs)

    (again,) = await eventually(claim_again)
    assert again.now >= claim.now + 50


async def test_a_mass_crash_is_taken_in_bounded_steps(queue: Queue, redis: Redis) -> None:
    # Given more lapsed leases than one claim looks at
    for _ in range(130):
        await enqueued(queue)
    claims = await queue.claim("dead", 1000)
    await redis.zadd(keys.LEASES, dict.fromkeys((claim.job_id for claim in claims.jobs), 1))
    # When another claims
    first = await queue.claim("full", 0)
    # Then some are back in the queue, and it is told to claim again at once
    assert await redis.zcard(keys.SUSPECTS) == 100
    assert first.wait_seconds == 0
    # And the rest is with the next claim
    await queue.claim("full", 0)
    assert await redis.zcard(keys.SUSPECTS) == 130


async def test_jobs_of_all_tenants_are_claimed(queue: Queue) -> None:
    await enqueued(queue)
    await queue.enqueue("other", chat(), None)
    assert {claim.record.tenant for claim in (await queue.claim("worker", 5)).jobs} == {TENANT, "other"}


async def test_a_bell_that_is_passed_on_is_still_one(queue: Queue, redis: Redis) -> None:
    await queue.ring()
    await enqueued(queue)
    await queue.ring()
    assert await redis.llen(keys.BELL) == 1
