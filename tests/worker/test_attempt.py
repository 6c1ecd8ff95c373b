"""One attempt at a job: it opens the log, copies the model's deltas and ends the job, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attempting import shop
from given import RESULT, TENANT, attempt, claimed, completed, failed, lapse, whole_log, written
from lines import line_to
from scripted import FINISH, USAGE, types

from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.job import Status
from tokentail.worker.attempt import Stop
from tokentail.worker.model import Finish

for_ever = asyncio.Event


async def test_what_the_model_says_is_in_the_log_and_its_collection_in_the_record(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", "lo", FINISH]) as at:
        # When a model finishes
        a = await at.claimed(metadata={"user": "7"})
        outcome = await a.run()
        # Then the log begins with the attempt, holds each delta and ends
        assert types(await at.log(a)) == ["attempt", "Hel", "lo", "completed"]
        assert [entry_id for entry_id, _ in await at.log(a)] == [f"{a.claim.fence}-{n}" for n in range(4)]
        ending = (await at.log(a))[-1][1]
        assert outcome == ending
        assert (ending["finish_reason"], ending["usage"], ending["cost_usd"]) == ("stop", USAGE, 0.25)
        assert 0 <= ending["timings"]["queued_ms"] <= ending["timings"]["first_delta_ms"]
        assert ending["timings"]["first_delta_ms"] <= ending["timings"]["total_ms"]
        # And the record the same ending, and what was said
        record = await at.record(a)
        assert (record.status, record.ending) == (Status.COMPLETED, ending)
        assert record.cursor == Cursor(a.claim.fence, 3)
        assert record.result is not None
        assert (record.result["content"], record.result["finish_reason"]) == ("Hello", "stop")
        # And the lease is free, and the provider's connection closed
        assert await at.redis.exists(keys.LEASES) == 0
        assert at.models.generations[0].closed


async def test_the_model_is_called_with_the_chat_parameters_alone(redis_url: str) -> None:
    async with shop(redis_url, [FINISH]) as at:
        a = await at.claimed(metadata={"user": "7"}, temperature=0.5)
        await a.run()
        (call,) = at.models.calls
        assert call["call"].keys() == {"model", "messages", "temperature"}
        assert (call["job_id"], call["attempt"]) == (a.claim.job_id, 1)


async def test_a_model_that_finishes_without_a_word_completes(redis_url: str) -> None:
    async with shop(redis_url, [Finish("length", USAGE, None)]) as at:
        a = await at.claimed()
        await a.run()
        ending = (await at.log(a))[-1][1]
        assert (ending["finish_reason"], ending["cost_usd"]) == ("length", None)
        assert ending["timings"]["first_delta_ms"] is None


async def test_an_open_log_outlives_its_jobs_deadline_and_an_ended_one_its_time(redis_url: str) -> None:
    go_on = asyncio.Event()
    async with shop(redis_url, ["a", go_on, FINISH], log_ttl_seconds=100, deadline_seconds=1000) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        assert await at.redis.ttl(keys.log(a.claim.job_id)) > 1000 + 100
        go_on.set()
        await task
        assert 50 < await at.redis.ttl(keys.log(a.claim.job_id)) <= 100


@pytest.mark.parametrize("fault", [ValueError("prompt: secret"), KeyError("x"), AssertionError("y")])
async def test_a_mistake_of_ours_still_ends_the_job_and_quotes_nothing(
    redis_url: str, fault: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    async with shop(redis_url, ["Hel", fault]) as at:
        a = await at.claimed()
        await a.run()
        record = await at.record(a)
        assert record.ending is not None
        assert record.ending["error"]["code"] == "internal"  # type: ignore[typeddict-item]
        assert types(await at.log(a)) == ["attempt", "Hel", "failed"]
        assert at.models.generations[0].closed
    assert "secret" not in "".join(capfd.readouterr()) + str(record)


async def test_a_model_that_stops_without_a_word_of_why_is_no_success(redis_url: str) -> None:
    async with shop(redis_url, ["Hel"]) as at:
        a = await at.claimed()
        await a.run()
        assert (await at.record(a)).status == Status.FAILED


# Jobs whose model is not called at all


async def test_an_ending_that_an_earlier_attempt_left_in_the_log_is_only_told_to_the_record(
    redis_url: str,
) -> None:
    async with shop(redis_url, [FINISH]) as at:
        # Given a worker that ended the log and died before it could finish the job
        dead = await at.claimed()
        job_id = dead.claim.job_id
        await written(
            at.redis, job_id, dead.claim.fence, attempt(), {"type": "delta", "content": "Hi"}, failed()
        )
        await lapse(at.redis, job_id)
        # When another claims it
        heir = at.attempt(await claimed(at.queue, "worker-2"))
        assert await heir.run() == failed()
        # Then the job has ended as its log says, and the model was not called again
        record = await at.record(heir)
        assert (record.status, record.ending, record.cursor) == (
            "failed",
            failed(),
            Cursor(dead.claim.fence, 2),
        )
        assert record.result is not None
        assert record.result["content"] == "Hi"
        assert at.models.calls == []
        assert types(await at.log(heir)) == ["attempt", "Hi", "failed"]


async def test_a_job_whose_cancellation_its_dead_owner_never_heard_is_cancelled_by_the_next(
    redis_url: str,
) -> None:
    async with shop(redis_url, [FINISH]) as at:
        dead = await at.claimed()
        await at.queue.cancel(TENANT, dead.claim.job_id)
        await lapse(at.redis, dead.claim.job_id)
        heir = at.attempt(await claimed(at.queue, "worker-2"))
        await heir.run()
        assert (await at.record(heir)).status == Status.CANCELLED
        assert types(await at.log(heir)) == ["attempt", "cancelled"]
        assert at.models.calls == []


async def test_a_job_that_took_two_workers_down_is_not_tried_again(redis_url: str) -> None:
    async with shop(redis_url, ["fine", FINISH]) as at:
        # Given a job whose worker died, twice
        first = await at.claimed()
        await lapse(at.redis, first.claim.job_id)
        second = await claimed(at.queue, "worker-2")
        assert second.record.crashes == 1
        await lapse(at.redis, first.claim.job_id)
        # When a third claims it
        third = at.attempt(await claimed(at.queue, "worker-3"))
        await third.run()
        # Then it ends
        ending: Any = (await at.record(third)).ending
        assert ending["error"]["code"] == "worker_lost"
        assert at.models.calls == []


async def test_a_job_that_took_one_worker_down_is_tried_again(redis_url: str) -> None:
    async with shop(redis_url, ["fine", FINISH]) as at:
        first = await at.claimed()
        await lapse(at.redis, first.claim.job_id)
        second = at.attempt(await claimed(at.queue, "worker-2"))
        await second.run()
        assert (await at.record(second)).status == Status.COMPLETED
        assert (await at.log(second))[0][1] == attempt(2, "lost")


@pytest.mark.parametrize("late_seconds", [0, 1_000_000])
async def test_a_job_that_waited_past_its_deadline_ends_however_late_that_is_noticed(
    redis_url: str, late_seconds: int
) -> None:
    async with shop(redis_url, [FINISH], log_ttl_seconds=10) as at:
        # Given a job that no worker took in time
        waited = await at.claimed()
        key = keys.record(waited.claim.job_id)
        await at.redis.hset(key, "deadline", waited.claim.now - late_seconds * 1000)
        await at.queue.hand_back(waited.claim.job_id, waited.claim.fence, "handoff")
        # When one does
        a = at.attempt(await claimed(at.queue))
        async with asyncio.timeout(20):
            await a.run()
        # Then it ends, with a log that says so
        ending: Any = (await at.record(a)).ending
        assert ending["error"]["code"] == "deadline_exceeded"
        assert types(await at.log(a)) == ["attempt", "failed"]
        assert at.models.calls == []


async def test_a_job_whose_request_somebody_removed_ends(redis_url: str) -> None:
    async with shop(redis_url, [FINISH]) as at:
        gone = await at.claimed()
        await at.redis.delete(keys.request(gone.claim.job_id))
        await at.queue.hand_back(gone.claim.job_id, gone.claim.fence, "handoff")
        a = at.attempt(await claimed(at.queue))
        await a.run()
        ending: Any = (await at.record(a)).ending
        assert ending["error"]["code"] == "internal"


# Stopping


async def test_a_cancelled_job_ends_with_what_was_used_and_the_provider_hangs_up(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", for_ever()]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        # When it is told to stop
        a.stop(Stop.CANCEL)
        await task
        # Then it has ended as cancelled
        record = await at.record(a)
        assert record.status == Status.CANCELLED
        assert record.ending == {"type": "cancelled", "reason": "requested", "usage": USAGE}
        assert record.result is not None
        assert record.result["content"] == "Hel"
        assert at.models.generations[0].closed


async def test_a_cancel_before_the_model_was_called_ends_the_job_too(redis_url: str) -> None:
    async with shop(redis_url, [FINISH]) as at:
        a = await at.claimed()
        a.stop(Stop.CANCEL)
        await a.run()
        assert (await at.record(a)).status == Status.CANCELLED
        assert at.models.calls == []


async def test_a_handed_off_job_waits_in_the_queue_with_its_log_open(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", for_ever()], ["new", FINISH]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        a.stop(Stop.HANDOFF)
        assert await task is Stop.HANDOFF
        record = await at.record(a)
        assert (record.status, record.handoffs, record.tries) == (Status.QUEUED, 1, 0)
        assert at.models.generations[0].closed
        # And the next attempt begins anew, and says why
        b = at.attempt(await claimed(at.queue, "worker-2"))
        await b.run()
        assert types(await at.log(b)) == ["attempt", "Hel", "attempt", "new", "completed"]
        assert (await at.log(b))[2][1] == attempt(2, "handoff")
        result = (await at.record(b)).result
        assert result is not None
        assert result["content"] == "new"


async def test_a_job_to_be_cancelled_is_not_handed_off_but_ended(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", for_ever()]) as at:
        # Given a cancel whose message has not arrived
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        await at.queue.cancel(TENANT, a.claim.job_id)
        # When the worker drains
        a.stop(Stop.HANDOFF)
        await task
        assert (await at.record(a)).status == Status.CANCELLED
        assert types(await at.log(a)) == ["attempt", "Hel", "cancelled"]


async def test_a_lost_job_is_not_ended_by_who_lost_it(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", for_ever()]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        a.stop(Stop.LOST)
        assert await task is Stop.LOST
        assert not (await at.record(a)).has_ended
        assert types(await at.log(a)) == ["attempt", "Hel"]
        assert at.models.generations[0].closed


async def test_an_attempt_that_a_newer_one_fenced_off_stops_by_itself(redis_url: str) -> None:
    go_on = asyncio.Event()
    async with shop(redis_url, ["Hel", go_on, "lo", for_ever()], idle_seconds=3600) as at:
        # Given an attempt that was taken for dead, and the next one
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        await lapse(at.redis, a.claim.job_id)
        newer = await claimed(at.queue, "worker-2")
        await written(at.redis, a.claim.job_id, newer.fence, attempt(2, "lost"))
        # When the first goes on
        go_on.set()
        # Then it notices, hangs up, and has changed nothing
        async with asyncio.timeout(20):
            assert await task is Stop.LOST
        assert at.models.generations[0].closed
        record = await at.record(a)
        assert (record.status, record.fence, record.attempt) == (Status.RUNNING, newer.fence, 2)
        assert types(await at.log(a)) == ["attempt", "Hel", "attempt"]


async def test_an_attempt_that_was_fenced_off_before_it_began_calls_no_model(redis_url: str) -> None:
    async with shop(redis_url, [FINISH]) as at:
        a = await at.claimed()
        await written(at.redis, a.claim.job_id, a.claim.fence + 1, attempt(2))
        assert await a.run() is Stop.LOST
        assert at.models.calls == []


async def test_a_deleted_job_leaves_no_log_behind(redis_url: str) -> None:
    async with shop(redis_url, ["Hel", for_ever()]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        await at.queue.delete(TENANT, a.claim.job_id)
        a.stop(Stop.GONE)
        assert await task is Stop.GONE
        assert at.models.generations[0].closed
        assert await at.redis.exists(keys.log(a.claim.job_id)) == 0


async def test_a_job_that_is_deleted_as_it_ends_leaves_no_log_behind(redis_url: str) -> None:
    go_on = asyncio.Event()
    async with shop(redis_url, ["Hel", go_on, FINISH]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        await at.queue.delete(TENANT, a.claim.job_id)
        go_on.set()
        assert await task is Stop.GONE
        assert await at.redis.exists(keys.log(a.claim.job_id), keys.record(a.claim.job_id)) == 0


@pytest.mark.parametrize("second", [Stop.LOST, Stop.GONE])
async def test_that_a_job_is_not_ours_any_more_overrules_any_other_reason(
    redis_url: str, second: Stop
) -> None:
    async with shop(redis_url, ["Hel", for_ever()]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        a.stop(Stop.CANCEL)
        a.stop(second)
        a.stop(Stop.HANDOFF)
        assert await task is second
        assert "cancelled" not in types(await at.log(a))


async def test_a_stop_after_the_end_changes_nothing(redis_url: str) -> None:
    async with shop(redis_url, ["Hi", FINISH]) as at:
        a = await at.claimed()
        await a.run()
        for why in Stop:
            a.stop(why)
        assert (await at.record(a)).status == Status.COMPLETED


async def test_an_attempt_whose_own_task_is_cancelled_hangs_up_and_leaves_the_job_to_its_lease(
    redis_url: str,
) -> None:
    async with shop(redis_url, ["Hel", for_ever()]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at.models.generations[0].closed
        assert (await at.record(a)).status == Status.RUNNING
        assert types(await at.log(a)) == ["attempt", "Hel"]


# Ending


@pytest.mark.parametrize("losses", [1, 2, 3, 4])
async def test_an_ending_is_written_once_however_many_replies_are_lost(redis_url: str, losses: int) -> None:
    go_on = asyncio.Event()
    async with line_to(redis_url) as line, shop(line.url, ["Hel", go_on, "lo", FINISH]) as at:
        # Given an answer that is nearly whole
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        # When the answers of Redis begin to get lost
        line.lose_replies(losses)
        go_on.set()
        await task
        # Then log and record say the same, once
        assert line.lost == losses
        assert types(await whole_log(at.redis, a.claim.job_id)) == ["attempt", "Hel", "lo", "completed"]
        record = await at.record(a)
        assert (record.status, record.result and record.result["content"]) == (Status.COMPLETED, "Hello")


async def test_an_ending_that_the_log_got_from_elsewhere_is_taken_over(redis_url: str) -> None:
    go_on = asyncio.Event()
    async with shop(redis_url, ["Hel", go_on, FINISH]) as at:
        # Given a log that somebody ended under a higher fence
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        await written(at.redis, a.claim.job_id, a.claim.fence + 1, failed())
        # When the attempt wants to end it
        go_on.set()
        assert await task == failed()
        # Then the record says what followers have seen
        assert (await at.record(a)).ending == failed()


async def test_a_record_that_has_ended_otherwise_is_not_changed(redis_url: str) -> None:
    go_on = asyncio.Event()
    async with shop(redis_url, ["Hel", go_on, FINISH]) as at:
        a = await at.claimed()
        task = at.start(a)
        await at.until_said(a, 1)
        await at.queue.finish(a.claim.job_id, a.claim.fence, Cursor(a.claim.fence, 9), completed(), RESULT)
        go_on.set()
        assert await task is Stop.LOST
        assert (await at.record(a)).cursor == Cursor(a.claim.fence, 9)
