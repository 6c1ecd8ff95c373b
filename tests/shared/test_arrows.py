"""The scripts move a record along the arrows of `job.ARROWS`, and along no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from given import RESULT, TENANT, claimed, completed, enqueued, failed, lapse
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.job import ARROWS, Record, Status
from tokentail.shared.queue import Queue

CANCELLED: Any = {"type": "cancelled", "reason": "requested", "usage": None}
ENDINGS = {"completed": completed(), "failed": failed(), "cancelled": CANCELLED}

Deed = Callable[[Queue, Record], Awaitable[Any]]


async def queued(queue: Queue) -> str:
    return (await enqueued(queue)).id


async def running(queue: Queue) -> str:
    await queued(queue)
    return (await claimed(queue)).job_id


def ended(kind: str) -> Callable[[Queue], Awaitable[str]]:
    async def make(queue: Queue) -> str:
        await queued(queue)
        claim = await claimed(queue)
        await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), ENDINGS[kind], RESULT)
        return claim.job_id

    return make


async def unlogged(queue: Queue) -> str:
    job_id = await queued(queue)
    await queue.cancel(TENANT, job_id)
    return job_id


async def waited_too_long(queue: Queue) -> str:
    job_id = await queued(queue)
    await queue._redis.hset(keys.record(job_id), "start_by", 1)  # type: ignore[misc]
    return job_id


async def expired(queue: Queue) -> str:
    job_id = await waited_too_long(queue)
    assert await queue.expire() == [job_id]
    return job_id


STATES: dict[str, Callable[[Queue], Awaitable[str]]] = {
    "queued": queued,
    "queued, too long": waited_too_long,
    "running": running,
    "completed": ended("completed"),
    "failed": ended("failed"),
    "cancelled": ended("cancelled"),
    "cancelled, unlogged": unlogged,
    "failed, unlogged": expired,
}


def finish(kind: str) -> Deed:
    async def deed(queue: Queue, record: Record) -> None:
        cursor = Cursor(record.fence, 7)
        await queue.finish(record.id, record.fence, cursor, ENDINGS[kind], RESULT)

    return deed


#: By script; a deed is the script said by somebody who knows the record's own fence.
DEEDS: dict[str, list[Deed]] = {
    "claim": [lambda queue, record: queue.claim("worker-2", 1)],
    "renew": [lambda queue, record: queue.renew("worker-1", [(record.id, record.fence)])],
    "handback": [lambda queue, record: queue.hand_back(record.id, record.fence, "handoff")],
    "finish": [finish(kind) for kind in ENDINGS],
    "cancel": [lambda queue, record: queue.cancel(TENANT, record.id)],
    "expire": [lambda queue, record: queue.expire()],
}


async def led_to(queue: Queue, redis: Redis, state: str, deed: Deed) -> tuple[Status, Status, bool]:
    """The status before and after, and whether the record changed at all."""
    await redis.flushall()
    job_id = await STATES[state](queue)
    before, raw = await queue.record(job_id), await redis.hgetall(keys.record(job_id))
    assert before is not None
    await deed(queue, before)
    after = await queue.record(job_id)
    assert after is not None
    return before.status, after.status, await redis.hgetall(keys.record(job_id)) != raw


async def test_the_table_says_where_each_script_leads_from_each_state(queue: Queue, redis: Redis) -> None:
    # When every script meets every state
    found: dict[Status | None, dict[str, set[Status]]] = {}
    for state in STATES:
        for script, deeds in DEEDS.items():
            for deed in deeds:
                before, after, changed = await led_to(queue, redis, state, deed)
                if changed and not (script == "cancel" and before == Status.RUNNING):
                    found.setdefault(before, {}).setdefault(script, set()).add(after)
    # And a lease has lapsed before the claim of somebody without a free slot
    await redis.flushall()
    job_id = await running(queue)
    await lapse(redis, job_id)
    await queue.claim("worker-2", 0)
    found[Status.RUNNING].setdefault("claim", set()).add((await queue.get(TENANT, job_id)).status)
    # And the queue is looked through when the worker of a job is dead, also of one that was to be cancelled,
    # and of one whose deadline has passed
    for deed in (None, "cancel", "deadline"):
        await redis.flushall()
        job_id = await running(queue)
        await lapse(redis, job_id)
        if deed is not None:
            await redis.hset(keys.record(job_id), deed, 1)
        await queue.expire()
        found[Status.RUNNING].setdefault("expire", set()).add((await queue.get(TENANT, job_id)).status)
    # And when a job that was to be cancelled is queued again
    await redis.flushall()
    job_id = await queued(queue)
    await redis.hset(keys.record(job_id), "cancel", 1)
    await queue.expire()
    found[Status.QUEUED]["expire"].add((await queue.get(TENANT, job_id)).status)
    # And a job is enqueued
    found[None] = {"enqueue": {(await enqueued(queue)).status}}
    # Then these are the arrows of the table
    assert found == ARROWS


@pytest.mark.parametrize("state", STATES)
async def test_a_cancel_of_a_running_job_only_asks(queue: Queue, redis: Redis, state: str) -> None:
    before, after, _ = await led_to(queue, redis, state, DEEDS["cancel"][0])
    assert after == (Status.CANCELLED if before == Status.QUEUED else before)


@pytest.mark.parametrize("state", STATES)
async def test_delete_removes_a_job_in_any_state(queue: Queue, state: str) -> None:
    job_id = await STATES[state](queue)
    await queue.delete(TENANT, job_id)
    assert await queue.record(job_id) is None


async def test_no_arrow_leads_to_a_state_that_is_not_in_the_list() -> None:
    assert {to for arrows in ARROWS.values() for ends in arrows.values() for to in ends} == set(Status)
