"""A worker runs a suspect alone for as long as it takes to find out, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from given import enqueued, eventually, lapse
from pool_at_work import Work, work
from scripted import FINISH, ScriptedGeneration

from tokentail.shared import keys
from tokentail.shared import queue as queue_module
from tokentail.shared.errors import StoreUnavailable
from tokentail.worker import pool as pool_module
from tokentail.worker import solitude as solitude_module


async def a_suspect(at: Work, crashes: int = 1) -> str:
    """A job that has crashed, which the pool finds when it may claim."""
    await at.pause()
    record = await enqueued(at.queue)
    await at.queue.claim("dead", 1)
    await at.redis.hset(keys.record(record.id), "crashes", crashes - 1)
    await lapse(at.redis, record.id)
    await at.queue.claim("who-looks", 0)
    return record.id


async def test_others_wait_until_the_suspects_model_has_spoken(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solitude_module, "PROBATION_SECONDS", {1: 1000})
    speak = asyncio.Event()
    async with work(redis_url, [speak, "Hi", asyncio.Event()]) as at:
        # Given a suspect and a job that never crashed
        bad = await a_suspect(at)
        other = await enqueued(at.queue)
        at.pool.allow_pick_jobs = True
        await at.has(bad, "running")
        # Then the other waits, however often the bell rings, while the worker has slots
        await at.queue.ring()
        await eventually(lambda: at.shop.models.calls)
        assert await at.status(other.id) == "queued"
        # When the suspect's model speaks; Then the other begins beside it
        speak.set()
        await at.has(other.id, "running")
        assert await at.status(bad) == "running"


async def test_others_wait_no_longer_than_the_probation(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solitude_module, "PROBATION_SECONDS", {1: 0.05})
    async with work(redis_url, [asyncio.Event()]) as at:
        bad = await a_suspect(at)
        other = await enqueued(at.queue)
        at.pool.allow_pick_jobs = True
        await at.has(other.id, "running")
        assert await at.status(bad) == "running"


async def test_who_crashed_three_times_stays_alone_to_its_end(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solitude_module, "PROBATION_SECONDS", {1: 0.01, 2: 0.01})
    end = asyncio.Event()
    async with work(redis_url, ["Hi", end, FINISH], ["Hi", FINISH]) as at:
        bad = await a_suspect(at, crashes=3)
        other = await enqueued(at.queue)
        at.pool.allow_pick_jobs = True
        await at.saying(bad)
        await at.queue.ring()
        # The bell has been heard and passed on when it stands there again while nobody claims.
        await eventually(lambda: at.redis.llen(keys.BELL))
        assert await at.status(other.id) == "queued"
        end.set()
        await at.has(other.id, "completed")
        assert await at.status(bad) == "completed"


async def test_a_busy_worker_keeps_nobody_from_the_suspect_that_it_took(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solitude_module, "PROBATION_SECONDS", {1: 1000})
    async with work(redis_url, ["Hi", asyncio.Event()], [asyncio.Event()]) as at:
        # Given a worker that makes an attempt, and then takes a suspect
        neighbour = await enqueued(at.queue)
        await at.saying(neighbour.id)
        bad = await a_suspect(at)
        at.pool.allow_pick_jobs = True
        await at.has(bad, "running")
        # When another job comes; Then it begins beside them
        await at.has((await enqueued(at.queue)).id, "running")
        # And a crash would not be taken for the suspect's
        assert await at.redis.get(keys.alone(at.pool.id)) is None


async def test_a_busy_worker_leaves_a_suspect_to_an_idle_one(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "GRACE_SECONDS", (1000, 1000))
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 0.01)
    async with work(redis_url, ["Hi", asyncio.Event()]) as at:
        # Given a worker that makes an attempt
        await at.saying((await enqueued(at.queue)).id)
        # When there is a suspect
        bad = await a_suspect(at)
        at.pool.allow_pick_jobs = True
        await looked(at, monkeypatch)
        # Then it is there for another
        assert await at.status(bad) == "queued"
        (claim,) = (await at.queue.claim("idle", 1)).jobs
        assert claim.job_id == bad


async def test_a_job_that_comes_back_to_who_lost_it_takes_a_slot_of_its_own(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "LOOK_SECONDS", 0.01)
    leave = asyncio.Event()

    class Slow(ScriptedGeneration):
        async def _run(self, script: list[Any]) -> AsyncGenerator[Any]:
            try:
                async for item in super()._run(script):
                    yield item
            finally:
                await leave.wait()

    async with work(redis_url, [], concurrency=2) as at:
        at.shop.models.chat = lambda *_, **__: Slow(["Hi", asyncio.Event()])  # type: ignore[method-assign]
        # Given a worker that lost a job, whose provider takes its time to be left, and that gets it again
        back = await enqueued(at.queue)
        await at.saying(back.id)
        await lapse(at.redis, back.id)
        await eventually(lambda: len(at.pool.tasks) == 2)
        # When another job comes
        other = await enqueued(at.queue)
        await looked(at, monkeypatch)
        await eventually(lambda: not at.pool._solitude.holds)
        await looked(at, monkeypatch)
        # Then there is no slot for it
        assert await at.status(other.id) == "queued"
        leave.set()


async def looked(at: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until the pool has looked at the queue some more times."""
    looks: list[None] = []
    look = at.pool._poll_iteration

    async def counted() -> None:
        await look()
        looks.append(None)

    with monkeypatch.context() as while_waiting:
        while_waiting.setattr(at.pool, "_poll_iteration", counted)
        await eventually(lambda: len(looks) > 2)


async def test_a_claim_whose_reply_is_lost_costs_its_jobs_nothing(redis_url: str) -> None:
    async with work(redis_url, ["Hi", FINISH], lease_seconds=600) as at:
        # Given a claim that is carried out, and whose reply does not arrive
        real, lost = at.queue.claim, []

        async def cut(*question: Any, **more: Any) -> Any:
            claims = await real(*question, **more)
            if claims.jobs and not lost:
                lost.append(claims)
                raise StoreUnavailable("Redis does not answer.")
            return claims

        at.queue.claim = cut  # type: ignore[method-assign]
        record = await enqueued(at.queue)
        # Then the job runs all the same, in that very attempt
        await at.has(record.id, "completed")
        assert lost
        found = await at.queue.get("default", record.id)
        assert (found.attempt, found.crashes) == (1, 0)


async def test_a_claim_whose_reply_is_lost_as_the_signal_comes_is_handed_back(redis_url: str) -> None:
    async with work(redis_url, ["Hi", FINISH], lease_seconds=600) as at:
        real, lost = at.queue.claim, []

        async def cut(*question: Any, **more: Any) -> Any:
            claims = await real(*question, **more)
            if claims.jobs and not lost:
                lost.append(claims)
                at.signal()
                raise StoreUnavailable("Redis does not answer.")
            return claims

        at.queue.claim = cut  # type: ignore[method-assign]
        record = await enqueued(at.queue)
        await at.over()
        found = await at.queue.get("default", record.id)
        assert (found.status, found.handoffs, found.crashes) == ("queued", 1, 0)
