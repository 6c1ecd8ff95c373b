"""Enqueue stores a job whole or not at all, and wakes one worker."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from arq.jobs import deserialize_job_raw
from given import TENANT, chat, claimed, clock_passes, enqueued, redis_ms
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.errors import IdempotencyConflict, QueueFull
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


async def test_a_stored_job_can_be_read_at_once(queue: Queue, redis: Redis) -> None:
    before = await redis_ms(redis)
    record, is_new = await queue.enqueue(TENANT, chat(metadata={"user": "7"}), None)
    assert is_new
    assert await queue.get(TENANT, record.id) == record
    assert (record.status, record.model, record.metadata) == ("queued", "demo", {"user": "7"})
    # By Redis's clock, the deadline counted from submit
    assert before <= record.created <= await redis_ms(redis)
    assert record.deadline == record.created + 1_800_000


async def test_the_worker_gets_the_chat_parameters_and_nothing_else_to_call_the_model_with(
    queue: Queue,
) -> None:
    await enqueued(queue, temperature=0.5, metadata={"user": "7"}, on_interruption="fail")
    claim = await claimed(queue)
    assert claim.request == {
        "call": {
            "model": "demo",
            "messages": [{"role": "user", "content": "Hello"}],
            "temperature": 0.5,
        },
        "on_interruption": "fail",
    }


async def test_the_jobs_arguments_are_its_id_only_and_json(queue: Queue) -> None:
    record = await enqueued(queue)
    claim = await claimed(queue)
    assert claim.envelope.startswith(b"{")
    name, args, kwargs, _, _ = deserialize_job_raw(claim.envelope, deserializer=orjson.loads)
    assert (name, args, kwargs) == ("generate", [record.id], {})


async def test_the_same_request_under_the_same_key_is_the_same_job(queue: Queue, redis: Redis) -> None:
    first, is_new = await queue.enqueue(TENANT, chat(), "key")
    again, is_new_again = await queue.enqueue(TENANT, chat(), "key")
    assert (first.id, is_new, is_new_again) == (again.id, True, False)
    assert await redis.zcard(keys.READY) == 1


async def test_twenty_at_once_under_one_key_make_one_job(queue: Queue, redis: Redis) -> None:
    answers = await asyncio.gather(*(queue.enqueue(TENANT, chat(), "key") for _ in range(20)))
    assert len({record.id for record, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert await redis.zcard(keys.READY) == await redis.zcard(keys.index(TENANT)) == 1


async def test_the_same_key_with_another_request_is_a_conflict(queue: Queue, redis: Redis) -> None:
    await queue.enqueue(TENANT, chat(), "key")
    for other in (chat("Bye"), chat(metadata={"a": "b"}), chat(on_interruption="fail")):
        with pytest.raises(IdempotencyConflict):
            await queue.enqueue(TENANT, other, "key")
    assert await redis.zcard(keys.READY) == 1


async def test_what_means_the_same_is_no_conflict(queue: Queue) -> None:
    first, _ = await queue.enqueue(TENANT, chat(seed=None, logit_bias={"1": 1.0, "2": 2.0}), "key")
    again, _ = await queue.enqueue(TENANT, chat(logit_bias={"2": 2.0, "1": 1.0}), "key")
    assert first.id == again.id


async def test_keys_of_two_tenants_never_meet(queue: Queue) -> None:
    ours, _ = await queue.enqueue("ours", chat(), "key")
    theirs, is_new = await queue.enqueue("theirs", chat("other"), "key")
    assert is_new
    assert ours.id != theirs.id


async def test_without_a_key_the_same_request_is_another_job(queue: Queue) -> None:
    assert (await enqueued(queue)).id != (await enqueued(queue)).id


async def test_a_key_whose_job_is_gone_may_be_used_again(queue: Queue, redis: Redis) -> None:
    # Given a job whose record has expired a moment before its key
    first, _ = await queue.enqueue(TENANT, chat(), "key")
    await redis.delete(keys.record(first.id))
    # When the key is used again, with another request
    second, is_new = await queue.enqueue(TENANT, chat("other"), "key")
    # Then it stands for the new job
    assert is_new
    assert (await queue.enqueue(TENANT, chat("other"), "key"))[0].id == second.id


async def test_the_key_answers_also_when_the_queue_is_full(redis: Redis, redis_url: str) -> None:
    queue = Queue(redis, Settings(redis_url=redis_url, max_queue=1))
    first, _ = await queue.enqueue(TENANT, chat(), "key")
    assert (await queue.enqueue(TENANT, chat(), "key"))[0].id == first.id


async def test_a_full_queue_refuses_and_stores_nothing(redis: Redis, redis_url: str) -> None:
    # Given a queue that is one short of full
    queue = Queue(redis, Settings(redis_url=redis_url, max_queue=2))
    await enqueued(queue)
    await enqueued(queue)
    before = await redis.dbsize()
    # When it is full
    with pytest.raises(QueueFull) as refusal:
        await queue.enqueue(TENANT, chat(), "key")
    # Then nothing was stored, and the caller knows when to come back
    assert await redis.dbsize() == before
    assert refusal.value.retry_after_seconds > 0
    # And a claim makes room
    await claimed(queue)
    await enqueued(queue)


async def test_the_bell_is_pushed_at_most_once(queue: Queue, redis: Redis) -> None:
    for _ in range(5):
        await enqueued(queue)
        assert await redis.llen(keys.BELL) == 1


async def test_the_index_forgets_jobs_whose_records_have_expired(queue: Queue, redis: Redis) -> None:
    # Given jobs whose records are gone, in the index of their tenant
    old = [(await enqueued(queue)).id for _ in range(4)]
    await redis.delete(*(keys.record(job_id) for job_id in old))
    await clock_passes(redis, await redis_ms(redis))
    # When others are enqueued
    new = [(await enqueued(queue)).id for _ in range(2)]
    # Then each has swept two out
    assert [raw.decode() for raw in await redis.zrange(keys.index(TENANT), 0, -1)] == sorted(new)
