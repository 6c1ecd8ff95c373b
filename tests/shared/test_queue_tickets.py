"""A claim whose reply was lost is asked again, and no job pays for it."""

from __future__ import annotations

from given import TENANT, clock_passes, enqueued, lapse, redis_ms
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.queue import Queue


async def test_the_same_ticket_brings_the_same_jobs(queue: Queue) -> None:
    # Given two jobs that a claim brought
    for _ in range(2):
        await enqueued(queue)
    first = await queue.claim("worker", 5, ticket="t1")
    later = await enqueued(queue)
    # When it is asked again, for the reply was lost
    again = await queue.claim("worker", 5, ticket="t1")
    # Then it brings the same attempts, and claims nothing more
    assert [(c.job_id, c.fence, c.record) for c in again.jobs] == [
        (c.job_id, c.fence, c.record) for c in first.jobs
    ]
    assert len(again.jobs) == 2
    assert (await queue.get(TENANT, later.id)).status == "queued"


async def test_asking_again_makes_the_leases_whole(queue: Queue, redis: Redis) -> None:
    await enqueued(queue)
    (claim,) = (await queue.claim("worker", 1, ticket="t1")).jobs
    await clock_passes(redis, await redis_ms(redis) + 5)
    (again,) = (await queue.claim("worker", 1, ticket="t1")).jobs
    assert await redis.zscore(keys.LEASES, claim.job_id) == again.now + 10_000


async def test_another_ticket_claims_anew(queue: Queue) -> None:
    jobs = [(await enqueued(queue)).id for _ in range(2)]
    first = await queue.claim("worker", 1, ticket="t1")
    second = await queue.claim("worker", 1, ticket="t2")
    assert sorted(c.job_id for c in first.jobs + second.jobs) == sorted(jobs)


async def test_a_ticket_is_good_for_its_worker_only(queue: Queue) -> None:
    await enqueued(queue)
    await queue.claim("worker-1", 1, ticket="t1")
    assert not (await queue.claim("worker-2", 1, ticket="t1")).jobs


async def test_a_ticket_that_brought_nothing_may_bring_something_later(queue: Queue) -> None:
    assert not (await queue.claim("worker", 1, ticket="t1")).jobs
    record = await enqueued(queue)
    (claim,) = (await queue.claim("worker", 1, ticket="t1")).jobs
    assert claim.job_id == record.id


async def test_a_job_that_was_taken_over_meanwhile_does_not_come_with_the_ticket(
    queue: Queue, redis: Redis
) -> None:
    # Given a claim whose reply was lost for longer than the lease
    for _ in range(2):
        await enqueued(queue)
    first, kept = (await queue.claim("worker", 5, ticket="t1")).jobs
    await lapse(redis, first.job_id)
    (taken,) = (await queue.claim("thief", 5)).jobs
    # Then the ticket brings what is still the worker's
    assert [c.job_id for c in (await queue.claim("worker", 5, ticket="t1")).jobs] == [kept.job_id]
    assert taken.job_id == first.job_id


async def test_a_worker_that_asks_again_was_not_dead(queue: Queue, redis: Redis) -> None:
    # Given a claim whose reply was lost, and a worker that could not ask again for a whole lease
    record = await enqueued(queue)
    await queue.claim("worker", 1, ticket="t1")
    await lapse(redis, record.id)
    await queue.claim("who-looks", 0)
    assert (await queue.get(TENANT, record.id)).crashes == 1
    # When it does
    assert not (await queue.claim("worker", 1, ticket="t1")).jobs
    # Then that was no crash, and the job waits with those that never crashed
    assert (await queue.get(TENANT, record.id)).crashes == 0
    assert await redis.zscore(keys.READY, record.id) == record.created


async def test_a_worker_that_asks_again_acquits_its_job_of_no_other_crash(queue: Queue, redis: Redis) -> None:
    # Given a claim whose reply was lost, and a second worker that died of the job since
    record = await enqueued(queue)
    await queue.claim("worker", 1, ticket="t1")
    for owner in ("worker", "second"):
        await lapse(redis, record.id)
        await queue.claim("who-looks", 0)
        if owner == "worker":
            await queue.claim("second", 1)
    assert (await queue.get(TENANT, record.id)).crashes == 2
    # When the first one asks again
    assert not (await queue.claim("worker", 0, ticket="t1")).jobs
    # Then the second one's crash still counts
    assert (await queue.get(TENANT, record.id)).crashes == 2
