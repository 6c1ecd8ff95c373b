"""Attempts at jobs that waited for long: what may still begin, and what may not."""

from __future__ import annotations

from typing import Any

from attempting import shop
from given import claimed, enqueued
from scripted import FINISH, types

from tokentail.shared import keys
from tokentail.shared.job import Status


async def test_a_job_that_nobody_began_in_time_is_not_begun_late(redis_url: str) -> None:
    async with shop(redis_url, ["Hi", FINISH]) as at:
        # Given a job that waited longer than it might, though its deadline is far
        record = await enqueued(at.queue)
        await at.redis.hset(keys.record(record.id), "start_by", record.created)
        # When a worker claims it before anybody has noticed
        a = at.attempt(await claimed(at.queue))
        await a.run()
        # Then it ends as if they had
        ending: Any = (await at.record(a)).ending
        assert ending["error"]["code"] == "deadline_exceeded"
        assert types(await at.log(a)) == ["attempt", "failed"]
        assert at.models.calls == []


async def test_a_job_that_began_in_time_may_begin_again_later(redis_url: str) -> None:
    async with shop(redis_url, ["Hi", FINISH]) as at:
        # Given a job that came back from a worker that drained
        first = await at.claimed()
        await at.queue.hand_back(first.claim.job_id, first.claim.fence, "handoff")
        await at.redis.hset(keys.record(first.claim.job_id), "start_by", first.claim.record.created)
        # When it is claimed again, after the time by which it had to begin
        a = at.attempt(await claimed(at.queue, "worker-2"))
        await a.run()
        assert (await at.record(a)).status == Status.COMPLETED
