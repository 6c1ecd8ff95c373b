"""A worker's pool: claims as slots are free, runs, hears, drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from given import TENANT, attempt, enqueued, eventually, lapse
from pool_at_work import work
from scripted import FINISH

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.errors import ModelError
from tokentail.shared.job import Status
from tokentail.stack.redis_server import RedisServer
from tokentail.worker import heartbeat as heartbeat_module
from tokentail.worker import pool as pool_module
from tokentail.worker.pool import worker_id

for_ever = asyncio.Event


async def test_a_job_is_picked_up_and_run_to_its_end(redis_url: str) -> None:
    async with work(redis_url, ["Hi", FINISH]) as at:
        record = await enqueued(at.queue)
        await at.has(record.id, "completed")
        assert not at.done.done()


async def test_nothing_of_arqs_own_queue_is_ever_used(redis_url: str) -> None:
    # Given a server that tells every command
    async with work(redis_url, ["Hi", FINISH]) as at, at.redis.monitor() as monitor:
        record = await enqueued(at.queue)
        await at.has(record.id, "completed")
        await at.redis.echo("that is all")
        # Then not one of them touched a key of arq's
        async with asyncio.timeout(20):
            async for seen in monitor.listen():
                assert "arq:" not in seen["command"]
                if "that is all" in seen["command"]:
                    break
        assert await at.redis.keys("arq:*") == []


async def test_a_pool_runs_no_more_jobs_than_it_has_slots(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a pool that looks at the queue all the time
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 0.01)
    async with work(redis_url, ["Hi", for_ever()], concurrency=2) as at:
        looks: list[None] = []
        look = at.pool._poll_iteration

        async def counted() -> None:
            looks.append(None)
            await look()

        at.pool._poll_iteration = counted  # type: ignore[method-assign]
        # When more jobs wait than it has slots
        for _ in range(5):
            await enqueued(at.queue)
        await eventually(lambda: len(at.pool.tasks) == 2)
        seen = len(looks)
        await eventually(lambda: len(looks) > seen + 10)
        # Then the rest goes on waiting, with the bell left to those who have room
        assert await at.redis.zcard(keys.LEASES) == 2
        assert await at.redis.zcard(keys.READY) == 3
        await eventually(lambda: at.redis.llen(keys.BELL))


async def test_a_full_pool_passes_the_bell_on_once_and_leaves_it_to_others(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a pool without a free slot, which looks at the queue only when it hears the bell
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 1000.0)
    async with work(redis_url, ["Hi", for_ever()], concurrency=1, lease_seconds=600) as at:
        await at.saying((await enqueued(at.queue)).id)
        rung: list[None] = []
        ring = at.queue.ring

        async def counted() -> None:
            rung.append(None)
            await ring()

        monkeypatch.setattr(at.queue, "ring", counted)
        # When another job comes
        await enqueued(at.queue)
        # Then the bell that it hears is there for others, and stays there
        await eventually(lambda: rung)
        await eventually(lambda: at.redis.llen(keys.BELL))
        for _ in range(50):
            assert await at.redis.llen(keys.BELL) == 1
        assert len(rung) == 1


async def test_a_slot_that_becomes_free_is_used_at_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a pool that never looks at the queue by itself
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 1000.0)
    async with work(redis_url, ["Hi", FINISH], concurrency=1, lease_seconds=600) as at:
        # When more jobs come than it has slots
        ids = [(await enqueued(at.queue)).id for _ in range(10)]
        # Then they are run one after the other all the same
        for job_id in ids:
            await at.has(job_id, "completed")


async def test_the_bell_alone_wakes_an_idle_pool(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 1000.0)
    async with work(redis_url, ["Hi", FINISH]) as at:
        for _ in range(5):
            record = await enqueued(at.queue)
            await at.has(record.id, "completed")


async def test_a_job_whose_bell_was_lost_is_found_all_the_same(redis_url: str) -> None:
    async with work(redis_url, ["Hi", FINISH]) as at:
        # Given a job that was put back as a script that died would have left it
        record = await enqueued(at.queue)
        await at.has(record.id, "completed")
        await at.redis.hset(
            keys.record(record.id),
            mapping={"status": "queued", "envelope": b'{"t":null,"f":"generate","a":["x"],"k":{},"et":0}'},
        )
        await at.redis.hdel(keys.record(record.id), "cursor", "ending")
        await at.redis.delete(keys.log(record.id), keys.BELL)
        await at.redis.zadd(keys.READY, {record.id: 1})
        await at.has(record.id, "completed")


async def test_a_delayed_job_is_run_when_its_time_has_come(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 1000.0)
    later = ModelError("rate_limited", "Later.", retryable=True, retry_after_seconds=0.2)
    async with work(redis_url, [later], ["Hi", FINISH]) as at:
        record = await enqueued(at.queue)
        await at.has(record.id, "completed")


async def test_a_dead_workers_job_is_run_by_the_next_that_looks(redis_url: str) -> None:
    async with work(redis_url, ["Hi", FINISH]) as at:
        # Given a job that a worker claimed and left
        await at.pause()
        record = await enqueued(at.queue)
        await at.queue.claim("dead", 1)
        await lapse(at.redis, record.id)
        at.pool.allow_pick_jobs = True
        await at.has(record.id, "completed")
        log = [event async for event in at.shop.desk.logs.read(record.id)]
        assert log[0].event() == attempt(2, "lost")


async def test_a_full_pool_returns_a_dead_workers_job_to_the_queue_for_others(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 0.01)
    async with work(redis_url, ["Hi", for_ever()], concurrency=1) as at:
        # Given a pool without a free slot
        mine = await enqueued(at.queue)
        await at.saying(mine.id)
        # When another worker claims a job and dies
        other = await enqueued(at.queue)
        await at.queue.claim("worker-dead", 1)
        await lapse(at.redis, other.id)
        # Then it is claimable again before the pool has a slot
        await at.has(other.id, "queued")
        assert await at.status(mine.id) == "running"


async def test_a_cancel_reaches_the_running_attempt(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a lease so long, and renewals so rare, that none would tell
    monkeypatch.setattr(heartbeat_module, "BEAT_SECONDS", 1000.0)
    async with work(redis_url, ["Hi", for_ever()], lease_seconds=600) as at:
        record = await enqueued(at.queue)
        await at.saying(record.id)
        assert await at.queue.cancel(TENANT, record.id) == "cancelling"
        await at.has(record.id, "cancelled")
        assert at.shop.models.generations[0].closed


async def test_a_cancel_whose_message_was_lost_is_heard_with_the_next_renewal(redis_url: str) -> None:
    async with work(redis_url, ["Hi", for_ever()], lease_seconds=0.5) as at:
        record = await enqueued(at.queue)
        await at.saying(record.id)
        await at.redis.hset(keys.record(record.id), "cancel", "1")
        await at.has(record.id, "cancelled")


async def test_deleting_a_running_job_stops_it_and_leaves_no_log(redis_url: str) -> None:
    async with work(redis_url, ["Hi", for_ever()], lease_seconds=600) as at:
        record = await enqueued(at.queue)
        await at.saying(record.id)
        await at.queue.delete(TENANT, record.id)

        async def no_log() -> bool:
            return await at.redis.exists(keys.log(record.id)) == 0

        await eventually(no_log)
        assert at.shop.models.generations[0].closed


async def test_an_attempt_that_breaks_down_costs_the_pool_nothing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with work(redis_url, ["Hi", FINISH], concurrency=1, lease_seconds=0.5) as at:
        # Given an attempt that fails in a way nobody foresaw
        real, broken = at.pool._new_attempt, []

        def new_attempt(claim: Any) -> Any:
            made = real(claim)
            if not broken:
                broken.append(claim)

                async def run() -> None:
                    raise RuntimeError("unforeseen")

                made.run = run  # type: ignore[method-assign, assignment]
            return made

        at.pool._new_attempt = new_attempt
        first = await enqueued(at.queue)
        await eventually(lambda: broken)
        # Then the next job is run, and the first comes back when its lease lapses
        second = await enqueued(at.queue)
        await at.has(second.id, "completed")
        await at.has(first.id, "completed")


async def test_a_helper_that_breaks_ends_the_worker_with_what_broke_it(redis_url: str) -> None:
    breaks = asyncio.Event()

    async def helper() -> None:
        await breaks.wait()
        raise LookupError("a bug")

    async with work(redis_url, [FINISH], helpers=[helper()]) as at:
        breaks.set()
        # Then its supervisor can start it anew
        async with asyncio.timeout(20):
            with pytest.raises(LookupError, match="a bug"):
                await at.done


# Draining


async def test_a_draining_pool_lets_running_jobs_end(redis_url: str) -> None:
    go_on = asyncio.Event()
    async with work(redis_url, ["Hi", go_on, FINISH]) as at:
        record = await enqueued(at.queue)
        await at.saying(record.id)
        at.signal()
        # Then it claims nothing more
        other = await enqueued(at.queue)
        for _ in range(20):
            await at.redis.ping()
        assert not at.done.done()
        assert not at.shop.models.generations[0].closed
        go_on.set()
        await at.over()
        assert await at.status(record.id) == Status.COMPLETED
        assert await at.status(other.id) == Status.QUEUED
        # And the bell is left to others
        assert await at.redis.llen(keys.BELL) == 1


async def test_what_does_not_end_in_time_is_handed_back(redis_url: str) -> None:
    async with work(redis_url, ["Hi", for_ever()], drain_seconds=0.1) as at:
        ids = [(await enqueued(at.queue)).id for _ in range(3)]
        for job_id in ids:
            await at.saying(job_id)
        at.signal()
        await at.over()
        for job_id in ids:
            record = await at.queue.get(TENANT, job_id)
            assert (record.status, record.handoffs, record.crashes) == (Status.QUEUED, 1, 0)
        assert await at.redis.exists(keys.LEASES) == 0
        assert all(generation.closed for generation in at.shop.models.generations)


async def test_a_draining_pool_does_not_claim_its_own_jobs_again(redis_url: str) -> None:
    async with work(redis_url, ["Hi", for_ever()], drain_seconds=0) as at:
        record = await enqueued(at.queue)
        await at.saying(record.id)
        at.signal()
        await at.over()
        assert (await at.queue.get(TENANT, record.id)).attempt == 1


async def test_a_second_signal_hands_back_at_once(redis_url: str) -> None:
    async with work(redis_url, ["Hi", for_ever()], drain_seconds=3600) as at:
        record = await enqueued(at.queue)
        await at.saying(record.id)
        at.signal()
        at.signal()
        await at.over()
        assert await at.status(record.id) == Status.QUEUED


async def test_an_idle_pool_stops_at_once(redis_url: str) -> None:
    async with work(redis_url, [FINISH], drain_seconds=3600) as at:
        began = time.monotonic()
        at.signal()
        await at.over()
        assert time.monotonic() - began < 10


async def test_a_job_claimed_as_the_signal_came_is_handed_back(redis_url: str) -> None:
    async with work(redis_url, ["Hi", for_ever()], drain_seconds=3600) as at:
        # Given a claim whose answer arrives after the signal
        real = at.queue.claim

        async def slow(*question: Any, **more: Any) -> Any:
            claims = await real(*question, **more)
            if claims.jobs:
                at.signal()
            return claims

        at.queue.claim = slow  # type: ignore[method-assign]
        record = await enqueued(at.queue)
        await at.over()
        found = await at.queue.get(TENANT, record.id)
        assert (found.status, found.handoffs) == (Status.QUEUED, 1)
        assert at.shop.models.calls == []


async def test_a_worker_is_listed_while_it_works_and_not_after(redis_url: str) -> None:
    async with work(redis_url, [FINISH]) as at:
        assert await at.redis.zrange(keys.WORKERS, 0, -1) == [at.pool.id.encode()]
        redis = store.client(redis_url)
    async with redis:
        assert await redis.exists(keys.WORKERS) == 0


async def test_a_worker_may_start_while_redis_is_away(new_redis_server: Callable[..., RedisServer]) -> None:
    # Given a Redis that stopped before the worker could say anything to it
    server = new_redis_server()
    server.stop()
    starting = asyncio.get_running_loop().call_later(0.05, server.start)
    async with work(server.url, ["Hi", FINISH]) as at:
        starting.cancel()
        record = await enqueued(at.queue)
        await at.has(record.id, "completed")


async def test_a_worker_that_stops_may_be_closed_twice(redis_url: str) -> None:
    async with work(redis_url, [FINISH]) as at:
        at.signal()
        await at.over()
        await at.pool.close()


def test_workers_never_share_a_name() -> None:
    assert len({worker_id() for _ in range(100)}) == 100
    assert all(len(worker_id().split()) == 1 for _ in range(3))
