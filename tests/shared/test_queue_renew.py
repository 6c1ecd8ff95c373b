"""A renewal keeps leases, beats the heart, and says which jobs are no longer ours."""

from __future__ import annotations

import pytest
from given import RESULT, TENANT, claimed, completed, lapse, running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.claim import Held
from tokentail.shared.cursor import Cursor
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


async def test_a_held_lease_runs_from_now_again(queue: Queue, redis: Redis, settings: Settings) -> None:
    # Given a lease that has nearly run out
    claim = await running(queue)
    await redis.zadd(keys.LEASES, {claim.job_id: claim.now + 1})
    # When it is renewed
    assert await queue.renew("worker-1", [(claim.job_id, claim.fence)]) == [Held.HELD]
    # Then it runs a whole lease from now
    assert (await redis.zscore(keys.LEASES, claim.job_id) or 0) >= claim.now + settings.lease_seconds * 1000


async def test_a_lease_that_has_lapsed_is_still_ours_while_nobody_took_it(queue: Queue, redis: Redis) -> None:
    claim = await running(queue)
    await lapse(redis, claim.job_id)
    assert await queue.renew("worker-1", [(claim.job_id, claim.fence)]) == [Held.HELD]
    assert not (await queue.claim("other", 1)).jobs


async def test_the_answers_come_in_the_order_of_the_questions(queue: Queue, redis: Redis) -> None:
    # Given one job that is ours, one to be cancelled, one taken over, one deleted
    held, cancel, lost, gone = [await running(queue) for _ in range(4)]
    await queue.cancel(TENANT, cancel.job_id)
    await lapse(redis, lost.job_id)
    await claimed(queue, "worker-2")
    await queue.delete(TENANT, gone.job_id)
    # Then a renewal tells them apart, and a cancelled one is still ours to end
    asked = [(claim.job_id, claim.fence) for claim in (gone, held, lost, cancel)]
    assert await queue.renew("worker-1", asked) == [Held.GONE, Held.HELD, Held.LOST, Held.CANCEL]
    # And neither the lost nor the deleted job's lease was touched
    leases = {job_id.decode() for job_id in await redis.zrange(keys.LEASES, 0, -1)}
    assert leases == {held.job_id, cancel.job_id, lost.job_id}


async def test_a_job_claimed_again_by_the_same_worker_is_lost_to_its_old_attempt(
    queue: Queue, redis: Redis
) -> None:
    first = await running(queue)
    await lapse(redis, first.job_id)
    second = await claimed(queue)
    asked = [(first.job_id, first.fence), (second.job_id, second.fence)]
    assert await queue.renew("worker-1", asked) == [Held.LOST, Held.HELD]


@pytest.mark.parametrize("how", ["handed back", "finished", "another worker's"])
async def test_what_is_not_running_here_is_lost(queue: Queue, redis: Redis, how: str) -> None:
    claim = await running(queue)
    worker = "worker-1"
    if how == "handed back":
        await queue.hand_back(claim.job_id, claim.fence, "handoff")
    elif how == "finished":
        await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    else:
        worker = "worker-2"
    before = await redis.zrange(keys.LEASES, 0, -1, withscores=True)
    assert await queue.renew(worker, [(claim.job_id, claim.fence)]) == [Held.LOST]
    assert await redis.zrange(keys.LEASES, 0, -1, withscores=True) == before


async def test_a_heartbeat_lists_the_worker_also_without_jobs(queue: Queue, redis: Redis) -> None:
    assert await queue.renew("worker-1", []) == []
    assert await redis.zrange(keys.WORKERS, 0, -1) == [b"worker-1"]


async def test_workers_that_no_longer_beat_are_forgotten(queue: Queue, redis: Redis) -> None:
    # Given one that beat two minutes ago, and one half a minute ago
    seconds, _ = await redis.time()
    beats = {"long-dead": (int(seconds) - 120) * 1000, "busy": (int(seconds) - 30) * 1000}
    await redis.zadd(keys.WORKERS, beats)
    # When another beats
    await queue.renew("alive", [])
    assert await redis.zrange(keys.WORKERS, 0, -1) == [b"busy", b"alive"]


async def test_a_worker_that_leaves_is_off_the_list_at_once(queue: Queue, redis: Redis) -> None:
    await queue.renew("worker-1", [])
    await queue.leave("worker-1")
    assert await redis.exists(keys.WORKERS) == 0


async def test_a_heartbeat_tells_how_late_its_workers_event_loop_was(queue: Queue, redis: Redis) -> None:
    await queue.renew("worker-1", [], lag_seconds=0.25)
    await queue.renew("worker-2", [], lag_seconds=1)
    await queue.renew("worker-1", [], lag_seconds=0.0123)
    assert await redis.hgetall(keys.LAG) == {b"worker-1": b"12", b"worker-2": b"1000"}


async def test_how_late_a_worker_was_is_forgotten_with_it(queue: Queue, redis: Redis) -> None:
    # Given one that has left, one that beats no more, and one that beats
    for worker in ("left", "dead", "alive"):
        await queue.renew(worker, [], lag_seconds=1)
    await queue.leave("left")
    await redis.zadd(keys.WORKERS, {"dead": 1})
    # When that one beats again
    await queue.renew("alive", [], lag_seconds=2)
    # Then only its own is known, and that not for ever
    assert await redis.hgetall(keys.LAG) == {b"alive": b"2000"}
    assert 0 < await redis.ttl(keys.LAG) <= keys.LAG_SECONDS
