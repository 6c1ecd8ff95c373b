"""Small pieces that tests below the level of processes begin with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
from redis.asyncio import Redis

from tokentail.shared import events, keys, tasks
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.claim import Claim
from tokentail.shared.cursor import Cursor
from tokentail.shared.events import Completed, Event, Failed
from tokentail.shared.job import Record
from tokentail.shared.log import Entry, Logs
from tokentail.shared.queue import Queue

TENANT = "default"

#: Nothing that a test waits for takes longer, however busy the machine is.
PATIENCE_SECONDS = 20.0


def chat(content: str = "Hello", **fields: Any) -> ChatRequest:
    """A request that the API would have let pass."""
    return ChatRequest.model_validate(
        {"model": "demo", "messages": [{"role": "user", "content": content}], **fields}
    )


def delta(content: str) -> events.Delta:
    return {"type": "delta", "content": content}


def attempt(number: int = 1, reason: events.Reason = "start") -> events.Attempt:
    return {"type": "attempt", "attempt": number, "reason": reason}


def completed(**fields: Any) -> Completed:
    event: dict[str, Any] = {
        "type": "completed",
        "finish_reason": "stop",
        "usage": None,
        "cost_usd": None,
        "timings": {"queued_ms": 1, "first_delta_ms": 2, "total_ms": 3},
        **fields,
    }
    return event  # type: ignore[return-value]


def failed(code: str = "provider_error") -> Failed:
    return {
        "type": "failed",
        "error": {"code": code, "message": "It failed.", "retryable": True},
        "usage": None,
    }


RESULT: Any = {
    "content": "Hi",
    "reasoning": None,
    "refusal": None,
    "tool_calls": [],
    "finish_reason": "stop",
}


async def enqueued(queue: Queue, key: str | None = None, **fields: Any) -> Record:
    record, _ = await queue.enqueue(TENANT, chat(**fields), key)
    return record


async def claimed(queue: Queue, worker: str = "worker-1") -> Claim:
    """The one job that is ripe, claimed."""
    (claim,) = (await queue.claim(worker, 1)).jobs
    return claim


async def running(queue: Queue, worker: str = "worker-1", **fields: Any) -> Claim:
    await enqueued(queue, **fields)
    return await claimed(queue, worker)


async def lapse(redis: Redis, job_id: str) -> None:
    """Let a job's lease run out, without waiting for it."""
    assert await redis.zadd(keys.LEASES, {job_id: 1}, xx=True, ch=True) == 1


async def redis_ms(redis: Redis) -> int:
    """The time by Redis's clock, as scripts see it."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def clock_passes(redis: Redis, ms: int) -> None:
    """Wait until Redis's clock shows a later millisecond, so that what comes next comes later."""

    async def passed() -> bool:
        return await redis_ms(redis) > ms

    await eventually(passed)


async def written(redis: Redis, job_id: str, fence: int, *log: Event, seq: int = 0) -> list[Entry]:
    """Entries of one attempt, from that number on, in the log as a worker would have written them."""
    entries = [Entry(Cursor(fence, number), events.encode(event)) for number, event in enumerate(log, seq)]
    for entry in entries:
        await redis.xadd(keys.log(job_id), {"e": entry.raw}, id=str(entry.cursor))
    return entries


async def whole_log(redis: Redis, job_id: str) -> list[tuple[str, Any]]:
    """A log as Redis holds it: (id, event) of each entry."""
    return [
        (entry_id.decode(), orjson.loads(fields[b"e"]))
        for entry_id, fields in await redis.xrange(keys.log(job_id))
    ]


async def read(logs: Logs, job_id: str, *after: Cursor) -> list[Entry]:
    return [entry async for entry in logs.read(job_id, *after)]


@asynccontextmanager
async def at_work(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let something that runs for ever do so within the block, and only there. What it raised is raised."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await tasks.end(task)
        if not task.cancelled():
            task.result()


async def eventually(condition: Callable[[], Any], within: float = PATIENCE_SECONDS) -> Any:
    """Wait until a condition (plain or async) holds, and return what it said."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"it did not happen within {within} s"
        await asyncio.sleep(0.005)
