"""Pickup: from enqueueing a job to the first entry of its log, which a worker writes when it has claimed it.

Measured at the queue, without HTTP: the benchmark enqueues as the API does and waits for the entry with a
blocking read. So each figure holds more than the claim: the enqueue script, the bell, the claim script, the
script that opens the log, and the read; it is an upper bound of what a claim takes. The peer is arq's own
worker as it comes, whose job writes such an entry.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from arq import create_pool
from redis.asyncio import Redis

from bench.effort import Effort
from bench.jobs import Jobs
from bench.peers import stock_arq
from bench.report import Aim, Row, percentile
from bench.scenarios import IN_FLIGHT, SHORT
from bench.stack import Stack
from tokentail.shared import keys

_WARM_UP = 10
#: arq's worker looks this often; each of its jobs comes at another moment in between.
_ARQ_POLL_SECONDS = 0.5
#: Between two jobs: time to end the one before, and no step with anything that happens regularly.
_PAUSE_SECONDS = (0.03, 0.06)
_PATIENCE_MS = 20_000


class _Sample(NamedTuple):
    """Milliseconds from enqueueing until that is answered, and until the job's first entry is read."""

    enqueued: float
    picked_up: float


async def measure(stack: Stack, effort: Effort) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    jobs = Jobs(stack.redis_url)
    try:
        idle, arq = await _idle(stack, jobs, effort)
        running = await jobs.start(IN_FLIGHT, effort.in_flight)
        await jobs.streaming(running)
        busy = [await _ours(jobs) for _ in range(effort.pickups)]
        await jobs.cancel(running)
    finally:
        await jobs.aclose()
    rows = _rows("pickup, idle", [sample.picked_up for sample in idle], arq)
    rows += _rows(f"pickup, {effort.in_flight} in flight", [sample.picked_up for sample in busy], [])
    enqueued = [percentile([sample.enqueued for sample in samples], 0.5) for samples in (idle, busy)]
    return rows, [
        "Pickup: enqueue to the entry that a worker writes when it has claimed the job, enqueue and read "
        "included. The peer is arq's own worker as it comes (polls every 0.5 s). One worker process holds "
        "all the jobs in flight, each of which says a token every second. "
        f"Of tokentail's p50, {enqueued[0]:.1f} ms idle and {enqueued[1]:.1f} ms busy is the enqueue itself."
    ]


async def _idle(stack: Stack, jobs: Jobs, effort: Effort) -> tuple[list[_Sample], list[float]]:
    """arq's turn comes more rarely: it takes a hundred times as long."""
    every = max(1, effort.pickups // effort.arq_pickups)
    ours, arqs = [], []
    pool = await create_pool(stock_arq.settings(stack.redis_url))
    reader = Redis.from_pool(pool.connection_pool)

    async def enqueue() -> str:
        key = f"begun:{time.time_ns()}"
        await pool.enqueue_job("begin", key)
        return key

    for number in range(-_WARM_UP, effort.pickups):
        took = await _ours(jobs)
        if number >= 0:
            ours.append(took)
            if number % every == 0:
                await asyncio.sleep(random.uniform(0, _ARQ_POLL_SECONDS))
                arqs.append((await _timed(enqueue, reader)).picked_up)
    await pool.aclose()
    return ours, arqs


async def _ours(jobs: Jobs) -> _Sample:
    async def enqueue() -> str:
        return keys.log(await jobs.submit(SHORT))

    took = await _timed(enqueue, jobs.redis)
    await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
    return took


async def _timed(enqueue: Callable[[], Awaitable[str]], reader: Redis) -> _Sample:
    """Enqueue, and wait for the first entry of the stream whose key `enqueue` returns."""
    began = time.perf_counter()
    key = await enqueue()
    enqueued = time.perf_counter()
    found = await reader.xread({key: "0"}, count=1, block=_PATIENCE_MS)
    picked_up = time.perf_counter()
    if not found:
        raise RuntimeError(f"Nobody picked up {key}.")
    return _Sample((enqueued - began) * 1000, (picked_up - began) * 1000)


def _rows(measure: str, ours: list[float], peer: list[float]) -> list[Row]:
    samples = (len(ours), len(peer)) if peer else (len(ours),)
    points = {"p50": (0.5, Aim("value", 3.0)), "p90": (0.9, None), "max": (1.0, None)}
    return [
        Row(
            f"{measure}, {name}",
            "ms",
            percentile(ours, share),
            percentile(peer, share) if peer else None,
            samples,
            aim,
        )
        for name, (share, aim) in points.items()
    ]
