"""The three clocks of an attempt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop
from given import chat

from tokentail.shared import job
from tokentail.shared.claim import Claim
from tokentail.shared.errors import ModelError
from tokentail.shared.job import Record
from tokentail.shared.settings import Settings
from tokentail.worker.limits import SLACK_SECONDS, Limits

NOW = 1_763_881_234_567
DAY = 86_400_000


def limits(*, deadline_ms: int = DAY, waited_ms: int = 0, **settings: Any) -> Limits:
    created = NOW - waited_ms
    fields = {
        "tenant": "default",
        "model": "demo",
        "status": "running",
        "metadata": "{}",
        "created": created,
        "deadline": created + deadline_ms,
        "started": NOW,
        "fence": NOW,
        "reason": "start",
    }
    record = Record.parse(
        job.new_id(), {name.encode(): str(value).encode() for name, value in fields.items()}
    )
    claim = Claim(record.id, NOW, {"call": chat().to_call()}, record, b"{}", NOW)
    return Limits(claim, Settings(**settings))


async def ran_out(clocks: Limits, *, says_something_first: bool = False) -> ModelError:
    """How a model ends that says one thing or nothing, and then no more."""
    try:
        async with asyncio.timeout(20), clocks.watch():
            if says_something_first:
                clocks.delta()
            await asyncio.Event().wait()
    except ModelError as error:
        return error
    raise AssertionError("no clock ran out")


async def test_a_model_that_says_nothing_runs_out_of_the_first_clock() -> None:
    error = await ran_out(limits(first_token_seconds=0.05, idle_seconds=60))
    assert (error.code, error.retryable) == ("first_token_timeout", True)
    assert "0.05 s" in str(error)


async def test_a_model_that_falls_silent_runs_out_of_the_second() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    error = await ran_out(limits(first_token_seconds=60, idle_seconds=0.1), says_something_first=True)
    assert (error.code, error.retryable) == ("idle_timeout", True)
    assert loop.time() - began >= 0.1


@pytest.mark.parametrize("says_something_first", [False, True])
async def test_a_job_that_takes_too_long_runs_out_of_the_third(says_something_first: bool) -> None:
    error = await ran_out(limits(deadline_ms=60), says_something_first=says_something_first)
    assert (error.code, error.retryable) == ("deadline_exceeded", False)


async def test_the_deadline_counts_from_submit() -> None:
    # Given a job that has waited nearly as long as it may
    clocks = limits(deadline_ms=60_050, waited_ms=60_000)
    assert 0 < clocks.remaining_seconds() <= 0.05
    assert (await ran_out(clocks)).code == "deadline_exceeded"
    assert clocks.remaining_seconds() <= 0


def test_the_deadline_is_told_from_the_other_clocks_on_the_workers_own_loop_too() -> None:
    # Its timers have a resolution of a millisecond and may fire that much early.
    async def many() -> set[str]:
        waiting = (ran_out(limits(deadline_ms=40 + n), says_something_first=n % 2 == 0) for n in range(40))
        return {error.code for error in await asyncio.gather(*waiting)}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(many()) == {"deadline_exceeded"}


async def test_a_model_that_keeps_talking_runs_out_of_nothing() -> None:
    # Given clocks much shorter than the answer
    clocks = limits(first_token_seconds=0.2, idle_seconds=0.2)
    loop = asyncio.get_running_loop()
    ends = loop.time() + 4 * (0.2 + SLACK_SECONDS)
    # When the model speaks in time, again and again
    async with clocks.watch():
        while loop.time() < ends:
            clocks.delta()
            await asyncio.sleep(0.02)  # The pause of a model that is in time: time itself is the subject.


async def test_a_model_that_finishes_in_time_runs_out_of_nothing() -> None:
    clocks = limits(first_token_seconds=0.05)
    async with clocks.watch():
        await asyncio.sleep(0)


async def test_a_fault_of_the_provider_is_not_taken_for_a_clock() -> None:
    fault = ModelError("provider_error", "It broke.", retryable=True)
    with pytest.raises(ModelError) as caught:
        async with limits(first_token_seconds=5).watch():
            raise fault
    assert caught.value is fault


async def test_a_cancellation_is_not_taken_for_a_clock() -> None:
    begun = asyncio.Event()

    async def watched() -> None:
        async with limits(first_token_seconds=60).watch():
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(watched())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_timings_count_by_redis_clock_from_submit() -> None:
    clocks = limits(waited_ms=5000)
    assert clocks.timings()["queued_ms"] == 5000
    assert clocks.timings()["first_delta_ms"] is None
    clocks.delta()
    first = clocks.first_delta_ms
    clocks.delta()
    timings = clocks.timings()
    assert timings["first_delta_ms"] == first
    assert first is not None
    assert 5000 <= first <= timings["total_ms"]
