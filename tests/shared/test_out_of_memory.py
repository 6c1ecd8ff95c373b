"""A Redis that is out of memory refuses new jobs, and still keeps and ends those that it has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from given import RESULT, TENANT, chat, completed, enqueued, lapse, running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.claim import Held
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer


@pytest.fixture
async def own(new_redis_server: Callable[..., RedisServer]) -> AsyncIterator[Redis]:
    async with store.client(new_redis_server().url) as redis:
        yield redis


async def fill(redis: Redis) -> None:
    await redis.config_set("maxmemory", 1)


async def test_a_new_job_is_refused_and_nothing_of_it_is_stored(own: Redis) -> None:
    queue = Queue(own, Settings())
    await enqueued(queue)
    before = sorted(await own.keys("*"))
    await fill(own)
    with pytest.raises(StoreUnavailable):
        await queue.enqueue(TENANT, chat(), "key")
    assert sorted(await own.keys("*")) == before


async def test_leases_are_kept(own: Redis) -> None:
    queue = Queue(own, Settings())
    claim = await running(queue, "worker")
    await fill(own)
    assert await queue.renew("worker", [(claim.job_id, claim.fence)]) == [Held.HELD]


async def test_what_was_accepted_is_claimed_and_ended(own: Redis) -> None:
    queue = Queue(own, Settings())
    record = await enqueued(queue)
    await fill(own)
    (claim,) = (await queue.claim("worker", 1)).jobs
    cursor = Cursor(claim.fence, 1)
    assert await queue.finish(record.id, claim.fence, cursor, completed(), RESULT) == "finished"


async def test_jobs_are_cancelled_handed_back_and_deleted(own: Redis) -> None:
    queue = Queue(own, Settings())
    waiting = await enqueued(queue)
    claim = (await queue.claim("worker", 1)).jobs[0]
    await fill(own)
    assert await queue.hand_back(claim.job_id, claim.fence, "handoff") == "queued"
    assert await queue.cancel(TENANT, waiting.id) == "cancelled"
    await queue.delete(TENANT, waiting.id)
    assert await own.exists(keys.record(waiting.id)) == 0


async def test_lapsed_leases_come_back_and_what_waits_too_long_ends(own: Redis) -> None:
    queue = Queue(own, Settings())
    claim = await running(queue, "dead")
    await lapse(own, claim.job_id)
    await fill(own)
    await queue.claim("alive", 0)
    assert await own.zcard(keys.SUSPECTS) == 1
    await own.config_set("maxmemory", 0)
    await own.hset(keys.record(claim.job_id), "deadline", "1")
    await fill(own)
    assert await queue.expire() == [claim.job_id]


async def test_a_job_that_runs_is_cancelled_and_deleted(own: Redis) -> None:
    queue = Queue(own, Settings())
    claim = await running(queue, "worker")
    await fill(own)
    # When somebody asks for its end; Then its owner is told
    assert await queue.cancel(TENANT, claim.job_id) == "cancelling"
    assert await queue.renew("worker", [(claim.job_id, claim.fence)]) == [Held.CANCEL]
    # When somebody deletes it; Then it is gone, and its owner is told that, too
    await queue.delete(TENANT, claim.job_id)
    assert await own.llen(keys.control("worker")) == 2
    assert await queue.renew("worker", [(claim.job_id, claim.fence)]) == [Held.GONE]


async def test_a_claim_whose_reply_was_lost_is_asked_for_again(own: Redis) -> None:
    queue = Queue(own, Settings())
    record = await enqueued(queue)
    await queue.claim("worker", 1, ticket="t1")
    await fill(own)
    assert [claim.job_id for claim in (await queue.claim("worker", 1, ticket="t1")).jobs] == [record.id]
