"""A job that is handed back waits in the queue again, and why is counted."""

from __future__ import annotations

from typing import Any

import pytest
from given import TENANT, claimed, clock_passes, enqueued, lapse, running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.queue import Queue


@pytest.mark.parametrize(("reason", "tries", "handoffs"), [("retry", 1, 0), ("handoff", 0, 1)])
async def test_the_next_attempt_knows_why_it_begins_and_only_that_is_counted(
    queue: Queue, reason: Any, tries: int, handoffs: int
) -> None:
    claim = await running(queue)
    assert await queue.hand_back(claim.job_id, claim.fence, reason) == "queued"
    again = await claimed(queue, "worker-2")
    assert (again.job_id, again.record.attempt, again.record.reason) == (claim.job_id, 2, reason)
    assert (again.record.tries, again.record.handoffs, again.record.crashes) == (tries, handoffs, 0)
    assert again.fence > claim.fence


async def test_a_handed_back_job_has_no_owner_and_no_lease(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await queue.hand_back(claim.job_id, claim.fence, "handoff")
    assert await redis.zcard(keys.LEASES) == 0
    assert await redis.hget(keys.record(claim.job_id), "owner") == b""
    assert (await queue.get(TENANT, claim.job_id)).status == "queued"


async def test_without_a_delay_it_goes_before_those_that_came_later(queue: Queue, redis: Redis) -> None:
    # Given a running job, and one that came after it and waits
    claim = await running(queue)
    await clock_passes(redis, claim.record.created)
    later = await enqueued(queue)
    await clock_passes(redis, later.created)
    # When the first is handed back
    await queue.hand_back(claim.job_id, claim.fence, "handoff")
    # Then it is the first to be claimed
    order = [each.job_id for each in (await queue.claim("worker-2", 5)).jobs]
    assert order == [claim.job_id, later.id]


async def test_a_hand_back_rings_the_bell_once(queue: Queue, redis: Redis) -> None:
    claims = [await running(queue) for _ in range(2)]
    await redis.delete(keys.BELL)
    for claim in claims:
        await queue.hand_back(claim.job_id, claim.fence, "handoff")
        assert await redis.llen(keys.BELL) == 1


async def test_a_delayed_hand_back_rings_too_so_that_somebody_learns_of_the_time(
    queue: Queue, redis: Redis
) -> None:
    claim = await running(queue)
    await redis.delete(keys.BELL)
    await queue.hand_back(claim.job_id, claim.fence, "retry", 5.0)
    assert await redis.llen(keys.BELL) == 1
    assert (await redis.zscore(keys.READY, claim.job_id) or 0) >= claim.now + 5000


async def test_a_job_that_is_to_be_cancelled_is_not_handed_back(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await queue.cancel(TENANT, claim.job_id)
    before = await redis.hgetall(keys.record(claim.job_id))
    assert await queue.hand_back(claim.job_id, claim.fence, "retry") == "cancel"
    # Then nothing has changed: its owner ends it
    assert await redis.hgetall(keys.record(claim.job_id)) == before
    assert await redis.zcard(keys.LEASES) == 1
    assert await redis.zcard(keys.READY) == 0


async def test_a_repeat_after_a_lost_reply_says_lost_and_changes_nothing(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await queue.hand_back(claim.job_id, claim.fence, "handoff")
    before = await redis.hgetall(keys.record(claim.job_id))
    assert await queue.hand_back(claim.job_id, claim.fence, "handoff") == "lost"
    assert await redis.hgetall(keys.record(claim.job_id)) == before


async def test_a_stale_worker_gives_nothing_back(queue: Queue, redis: Redis) -> None:
    # Given a job that was taken over
    stale = await running(queue, "worker-1")
    await lapse(redis, stale.job_id)
    owner = await claimed(queue, "worker-2")
    # When the old one hands it back
    assert await queue.hand_back(stale.job_id, stale.fence, "handoff") == "lost"
    # Then the new one still has it
    record = await queue.get(TENANT, owner.job_id)
    assert (record.status, record.fence, record.attempt) == ("running", owner.fence, 2)
    assert await redis.zcard(keys.LEASES) == 1


async def test_a_deleted_job_is_not_brought_back(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await queue.delete(TENANT, claim.job_id)
    assert await queue.hand_back(claim.job_id, claim.fence, "handoff") == "lost"
    assert await redis.exists(keys.record(claim.job_id), keys.READY) == 0


async def test_a_worker_that_lost_a_job_and_lives_has_not_crashed(queue: Queue, redis: Redis) -> None:
    # Given a job whose lease lapsed while its worker could not renew, and which another has claimed
    stale = await running(queue, "worker-1")
    await lapse(redis, stale.job_id)
    owner = await claimed(queue, "worker-2")
    assert owner.record.crashes == 1
    # When the first worker says that it is alive, twice
    for _ in range(2):
        assert await queue.hand_back(stale.job_id, stale.fence, "lost") == "lost"
    # Then the lapse counts as no crash, and the job is where it was
    record = await queue.get(TENANT, stale.job_id)
    assert (record.status, record.fence, record.crashes) == ("running", owner.fence, 0)


async def test_a_job_that_its_worker_gave_up_goes_back_at_once(queue: Queue, redis: Redis) -> None:
    # Given a job that is to be cancelled, and a worker that gave it up although it still has the lease
    claim = await running(queue)
    await queue.cancel(TENANT, claim.job_id)
    # When it says so
    assert await queue.hand_back(claim.job_id, claim.fence, "lost") == "queued"
    # Then the next claim finds it, and it has cost neither a try nor a crash
    again = await claimed(queue, "worker-2")
    assert (again.job_id, again.record.reason, again.record.cancel) == (claim.job_id, "lost", True)
    assert (again.record.tries, again.record.crashes, again.record.handoffs) == (0, 0, 0)


@pytest.mark.parametrize("ahead", [3_600_000, 0, -1])
async def test_the_next_fence_is_above_what_the_log_was_found_to_hold_and_above_the_last(
    queue: Queue, ahead: int
) -> None:
    claim = await running(queue)
    await queue.hand_back(claim.job_id, claim.fence, "lost", floor=claim.fence + ahead)
    assert (await queue.get(TENANT, claim.job_id)).fence == claim.fence + max(0, ahead)
    again = await claimed(queue, "worker-2")
    assert again.fence > claim.fence + max(0, ahead)
