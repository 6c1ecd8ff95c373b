"""What an attempt does when its provider fails: another try, or the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attempting import Shop, shop
from given import attempt, claimed, eventually, redis_ms
from scripted import FINISH, USAGE, types

from tokentail.shared import keys
from tokentail.shared.errors import ModelError
from tokentail.shared.job import Status
from tokentail.worker.attempt import Attempt
from tokentail.worker.retry import RETRY_LIMIT_SECONDS, RETRY_SECONDS, Retry

BUSY = ModelError("rate_limited", "Too many requests.", retryable=True)
BROKEN = ModelError("provider_error", "The provider broke.", retryable=True)
REJECTED = ModelError("provider_rejected", "The provider refused.", retryable=False)


async def error_of(at: Shop, a: Attempt) -> dict[str, Any]:
    ending: Any = (await at.record(a)).ending
    assert ending["type"] == "failed"
    assert types(await at.log(a))[-1] == "failed"
    error: dict[str, Any] = ending["error"]
    return error


async def ripe_in_seconds(at: Shop, a: Attempt) -> float:
    score = await at.redis.zscore(keys.READY, a.claim.job_id)
    assert score is not None
    return (score - await redis_ms(at.redis)) / 1000


async def test_a_fault_that_may_pass_frees_the_slot_and_comes_back(redis_url: str) -> None:
    async with shop(redis_url, [BUSY], ["Hi", FINISH]) as at:
        # Given a provider that is busy
        a = await at.claimed()
        outcome = await a.run()
        # Then the job is in the queue for a moment, without an ending
        assert isinstance(outcome, Retry)
        assert RETRY_SECONDS * 0.75 <= outcome.delay_seconds <= RETRY_SECONDS * 1.25
        record = await at.record(a)
        assert (record.status, record.tries, record.crashes) == (Status.QUEUED, 1, 0)
        assert 0 < await ripe_in_seconds(at, a) <= outcome.delay_seconds
        assert await at.redis.exists(keys.LEASES) == 0
        # And the next attempt says why it begins, and that it is the second try
        await at.redis.zadd(keys.READY, {a.claim.job_id: 1})
        b = at.attempt(await claimed(at.queue))
        await b.run()
        assert (await at.log(b))[1][1] == attempt(2, "retry")
        assert (await at.record(b)).status == Status.COMPLETED
        assert [call["attempt"] for call in at.models.calls] == [1, 2]


async def tried(at: Shop, times: int) -> Attempt:
    """A job that has been tried so many times, claimed once more."""
    a = await at.claimed()
    for _ in range(times):
        await at.queue.hand_back(a.claim.job_id, a.claim.fence, "retry")
        a = at.attempt(await claimed(at.queue))
    return a


@pytest.mark.parametrize(
    ("times", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (60, 30.0)]
)
async def test_each_try_waits_twice_as_long_up_to_a_limit(redis_url: str, times: int, seconds: float) -> None:
    async with shop(redis_url, [BUSY], max_attempts=100) as at:
        outcome = await (await tried(at, times)).run()
        assert isinstance(outcome, Retry)
        assert seconds * 0.75 <= outcome.delay_seconds <= seconds * 1.25
        assert seconds <= RETRY_LIMIT_SECONDS


async def test_the_providers_own_wish_counts(redis_url: str) -> None:
    wish = ModelError("rate_limited", "Later.", retryable=True, retry_after_seconds=7.0)
    async with shop(redis_url, [wish]) as at:
        a = await at.claimed()
        assert await a.run() == Retry(7.0)
        assert 0 < await ripe_in_seconds(at, a) <= 7


async def test_another_deployment_is_tried_at_once(redis_url: str) -> None:
    wish = ModelError("rate_limited", "Later.", retryable=True, retry_after_seconds=7.0)
    async with shop(redis_url, [wish], has_other=True) as at:
        a = await at.claimed()
        assert await a.run() == Retry(0.0)
        assert (await claimed(at.queue)).job_id == a.claim.job_id


async def test_tries_come_to_an_end(redis_url: str) -> None:
    async with shop(redis_url, [BROKEN], max_attempts=3) as at:
        a = await tried(at, 2)
        await a.run()
        error = await error_of(at, a)
        assert error["code"] == "attempts_exhausted"
        assert error["message"] == "3 attempts failed; the last with provider_error: The provider broke."
        assert error["retryable"]


async def test_neither_crashes_nor_handoffs_use_up_tries(redis_url: str) -> None:
    async with shop(redis_url, [BROKEN], max_attempts=2) as at:
        # Given a job that was handed off many times
        a = await at.claimed()
        for _ in range(10):
            await at.queue.hand_back(a.claim.job_id, a.claim.fence, "handoff")
            a = at.attempt(await claimed(at.queue))
        # Then its provider's first failure is its first
        assert isinstance(await a.run(), Retry)


async def test_with_one_try_only_its_own_fault_is_told(redis_url: str) -> None:
    async with shop(redis_url, [BROKEN], max_attempts=1) as at:
        a = await at.claimed()
        await a.run()
        assert await error_of(at, a) == {
            "code": "provider_error",
            "message": "The provider broke.",
            "retryable": True,
        }


async def test_a_fault_that_will_not_pass_ends_the_job_at_once(redis_url: str) -> None:
    async with shop(redis_url, [REJECTED]) as at:
        a = await at.claimed()
        await a.run()
        assert await error_of(at, a) == {
            "code": "provider_rejected",
            "message": "The provider refused.",
            "retryable": False,
        }
        assert at.models.generations[0].closed


async def test_by_default_an_interrupted_answer_begins_anew(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", BROKEN], ["Hello", FINISH]) as at:
        a = await at.claimed()
        assert isinstance(await a.run(), Retry)
        await at.redis.zadd(keys.READY, {a.claim.job_id: 1})
        b = at.attempt(await claimed(at.queue))
        await b.run()
        assert types(await at.log(b)) == ["attempt", "Hel", "attempt", "Hello", "completed"]
        record = await at.record(b)
        assert record.result is not None
        assert record.result["content"] == "Hello"


async def test_on_request_an_interrupted_answer_fails_and_stays_readable(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", BROKEN]) as at:
        a = await at.claimed(on_interruption="fail")
        await a.run()
        assert (await error_of(at, a))["code"] == "provider_error"
        record = await at.record(a)
        assert record.result is not None
        assert record.result["content"] == "Hel"
        assert record.ending is not None
        assert record.ending["usage"] == USAGE


async def test_before_the_first_delta_also_such_a_job_is_tried_again(redis_url: str) -> None:
    async with shop(redis_url, [BROKEN]) as at:
        a = await at.claimed(on_interruption="fail")
        assert isinstance(await a.run(), Retry)


async def test_a_try_that_would_begin_behind_the_deadline_is_not_made(redis_url: str) -> None:
    wish = ModelError("rate_limited", "In an hour.", retryable=True, retry_after_seconds=3600.0)
    async with shop(redis_url, [wish], deadline_seconds=60) as at:
        a = await at.claimed()
        await a.run()
        error = await error_of(at, a)
        assert (error["code"], error["retryable"]) == ("rate_limited", True)


async def test_a_silent_model_is_given_up_and_tried_again(redis_url: str) -> None:
    async with shop(redis_url, [asyncio.Event()], first_token_seconds=0.05) as at:
        a = await at.claimed()
        assert isinstance(await a.run(), Retry)
        assert at.models.generations[0].closed


async def test_a_job_at_its_deadline_fails_in_mid_answer(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", asyncio.Event()], deadline_seconds=0.3) as at:
        a = await at.claimed()
        await a.run()
        error = await error_of(at, a)
        assert (error["code"], error["retryable"]) == ("deadline_exceeded", False)
        assert types(await at.log(a)) == ["attempt", "Hel", "failed"]
        await eventually(lambda: at.models.generations[0].closed)
