"""Attempts that are disturbed: cancellations that go astray, a second stop, a Redis that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from attempting import shop
from given import attempt, claimed, written
from scripted import FINISH, ScriptedGeneration, types
from writing import FENCE, expected, say

from tokentail.shared.errors import StoreUnavailable
from tokentail.worker.attempt import Stop


async def test_a_cancellation_that_nobody_asked_for_ends_the_job_and_not_the_worker(
    redis_url: str,
) -> None:
    # Given a library that lets another task's cancellation out, as a shared name look-up may
    class Astray(ScriptedGeneration):
        async def _run(self, script: list[Any]) -> AsyncGenerator[Any]:
            yield {"type": "delta", "content": "Hi"}
            raise asyncio.CancelledError

    async with shop(redis_url, []) as at:
        at.models.chat = lambda *_, **__: Astray([])  # type: ignore[method-assign]
        attempt = await at.claimed()
        ending = await at.start(attempt)
        assert ending["error"]["code"] == "internal"
        assert types(await at.log(attempt)) == ["attempt", "Hi", "failed"]
        assert (await at.record(attempt)).status == "failed"


async def test_a_model_that_swallows_the_cancellation_is_stopped_at_its_next_word(redis_url: str) -> None:
    # Given a library that takes a cancellation for an event of its own, as `asyncio.wait_for` does
    class Deaf(ScriptedGeneration):
        async def _run(self, script: list[Any]) -> AsyncGenerator[Any]:
            try:
                yield {"type": "delta", "content": "Hi"}
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                while True:
                    yield {"type": "delta", "content": "still here"}
                    await asyncio.sleep(0)

    async with shop(redis_url, []) as at:
        at.models.chat = lambda *_, **__: Deaf([])  # type: ignore[method-assign]
        attempt = await at.claimed()
        run = at.start(attempt)
        await at.until_said(attempt, 1)
        attempt.stop(Stop.CANCEL)
        async with asyncio.timeout(20):
            ending = await run
        assert ending["type"] == "cancelled"
        assert types(await at.log(attempt)) == ["attempt", "Hi", "cancelled"]


async def test_a_second_stop_does_not_interrupt_the_provider_being_hung_up_on(redis_url: str) -> None:
    # Given a provider that takes its time to be left
    leaving, let_go, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(ScriptedGeneration):
        async def _run(self, script: list[Any]) -> AsyncGenerator[Any]:
            try:
                yield {"type": "delta", "content": "Hi"}
                await asyncio.Event().wait()
            finally:
                leaving.set()
                await let_go.wait()
                left.set()

    async with shop(redis_url, []) as at:
        at.models.chat = lambda *_, **__: Slow([])  # type: ignore[method-assign]
        attempt = await at.claimed()
        run = at.start(attempt)
        await at.until_said(attempt, 1)
        attempt.stop(Stop.CANCEL)
        await leaving.wait()
        # When the attempt is told again, and for good measure that it is lost
        attempt.stop(Stop.CANCEL)
        attempt.stop(Stop.LOST)
        await asyncio.sleep(0)
        let_go.set()
        # Then it left in order, and did what it was told last
        assert await run is Stop.LOST
        assert left.is_set()


@pytest.mark.parametrize("deed", ["finish", "hand_back"])
async def test_what_frees_a_job_is_said_again_when_redis_does_not_answer(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    script = ["Hi", FINISH] if deed == "finish" else ["Hi", asyncio.Event()]
    async with shop(redis_url, script) as at:
        attempt = await at.claimed()
        do, answers = getattr(at.queue, deed), []

        async def away_at_first(*question: Any, **more: Any) -> Any:
            answers.append(len(answers))
            if len(answers) == 1:
                raise StoreUnavailable("Redis does not answer.")
            return await do(*question, **more)

        monkeypatch.setattr(at.queue, deed, away_at_first)
        run = at.start(attempt)
        if deed == "hand_back":
            await at.until_said(attempt, 1)
            attempt.stop(Stop.HANDOFF)
        await run
        status = "completed" if deed == "finish" else "queued"
        assert (await at.record(attempt)).status == status
        assert len(answers) == 2


async def test_an_attempt_that_was_lost_before_it_began_writes_nothing(redis_url: str) -> None:
    async with shop(redis_url, ["Hi", FINISH]) as at:
        attempt = await at.claimed()
        attempt.stop(Stop.LOST)
        assert await attempt.run() is Stop.LOST
        assert await at.log(attempt) == []
        assert at.models.calls == []
        # And the job can be claimed by others
        assert (await at.record(attempt)).status == "queued"


async def test_after_a_claim_that_a_failover_has_forgotten_the_next_one_stands_above_it(
    redis_url: str,
) -> None:
    async with shop(redis_url, ["Hi", FINISH]) as at:
        # Given a job whose log holds an attempt that the queue knows nothing of, by a clock that was ahead
        forgetful = await at.claimed()
        job_id, ahead = forgetful.claim.job_id, forgetful.claim.fence + 3_600_000
        await written(at.redis, job_id, ahead, attempt())
        # When an attempt is made that this one fences off
        assert await forgetful.run() is Stop.LOST
        # Then the next one is above both, and brings the job to its end
        heir = at.attempt(await claimed(at.queue, "worker-2"))
        assert heir.claim.fence > ahead
        await heir.run()
        assert (await at.record(heir)).status == "completed"


async def test_a_log_that_is_deleted_after_its_end_does_not_come_back_with_a_reconnection(
    redis_url: str,
) -> None:
    async with shop(redis_url, ["Hi", FINISH]) as at:
        # Given a job that has ended and was deleted
        ended = await at.claimed()
        await ended.run()
        await at.desk.logs.delete(ended.claim.job_id)
        # When its worker loses its connection, and goes on with another job
        await at.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        other = await at.claimed()
        await other.run()
        # Then nothing of it is written again
        assert types(await at.log(other)) == ["attempt", "Hi", "completed"]
        assert await at.log(ended) == []


async def test_a_log_that_is_being_deleted_does_not_come_back_with_a_reconnection(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(redis_url, ["Hi", asyncio.Event()]) as at:
        deleted, other = await at.claimed(), await at.desk.begin()
        delete = at.desk.logs.delete

        async def delete_and_reconnect(job_id: str) -> None:
            await delete(job_id)
            await at.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            say(other, "x")
            await other.flushed()

        monkeypatch.setattr(at.desk.logs, "delete", delete_and_reconnect)
        # Given a running job that is deleted
        run = at.start(deleted)
        await at.until_said(deleted, 1)
        deleted.stop(Stop.GONE)
        # When its worker loses its connection while it removes the log
        assert await run is Stop.GONE
        # Then that stays removed
        assert await at.desk.log(other) == expected(FENCE, "x")
        assert await at.log(deleted) == []


async def test_what_can_not_be_written_is_in_no_result(redis_url: str) -> None:
    # Given a model that says something which is no text
    async with shop(redis_url, ["Hi", "\ud800", FINISH]) as at:
        attempt = await at.claimed()
        await attempt.run()
        # Then the job fails, and log and record agree on what was said
        assert types(await at.log(attempt)) == ["attempt", "Hi", "failed"]
        record = await at.record(attempt)
        assert record.result is not None
        assert (record.status, record.result["content"]) == ("failed", "Hi")
