"""Cancel: from the client's POST until the provider's connection is closed.

The provider says in its ledger when its client left; its clock is the machine's, the same for all processes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import httpx

from bench.installation import Installation, api_url, worker_ready
from bench.reliability.clients import Clients
from bench.reliability.effort import Effort
from bench.report import Row, spread

#: About 30 tokens a second, for as long as it takes: what runs beside.
_LOAD = "counted?tokens=100000&pace_ms=33"
#: What is cancelled: silent from the start, with 30 tokens a second, with 500.
_CANCELLED = ("hang-first", _LOAD, "counted?tokens=100000&pace_ms=2")

#: From a job's submit to its cancel: some are in the queue, some before their first token, most after it.
_LATEST_SECONDS = 1.0
#: Clients that submit and cancel, one job after the other.
_AT_ONCE = 4

_PROMISE_MS = 100.0
#: For the provider to have noticed the last one.
_SETTLE_SECONDS = 1.0


async def measure(effort: Effort) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    installation = Installation(_CANCELLED, TOKENTAIL_CONCURRENCY=str(effort.cancel_load + 10))
    try:
        installation.start()
        worker, api = installation.spawn_worker(), installation.spawn_api()
        clients = Clients(api_url(api))
        worker_ready(worker)
        await clients.streaming(_LOAD, effort.cancel_load)
        asked = await _cancel_many(clients, effort.cancels)
        await asyncio.sleep(_SETTLE_SECONDS)
        took = await _closed(installation.provider_url, asked)
        await clients.aclose()
    finally:
        installation.close()
    points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return spread("cancel", "ms", took, points, {"p99": _PROMISE_MS}), [
        "Cancel: from the client's POST until the provider sees its client leave. Jobs that say nothing, 30 "
        f"and 500 tokens a second, cancelled up to {_LATEST_SECONDS:g} s after their submit, {_AT_ONCE} at a "
        f"time, while {effort.cancel_load} other streams at 30 tokens a second run in the same worker, each "
        f"with a follower. {effort.cancels - len(took)} of {effort.cancels} were cancelled before the "
        "provider was asked."
    ]


async def _cancel_many(clients: Clients, count: int) -> dict[int, float]:
    """When each cancel was asked for (monotonic), by the seed of its job."""
    asked: dict[int, float] = {}
    numbers = iter(range(1, count + 1))

    async def client() -> None:
        for number in numbers:
            job = await clients.submit(random.choice(_CANCELLED), seed=number)
            await asyncio.sleep(random.uniform(0, _LATEST_SECONDS))
            asked[number] = time.monotonic()
            await clients.cancel(job)

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
    return asked


async def _closed(provider_url: str, asked: dict[int, float]) -> Sequence[float]:
    """How many ms after the cancel each connection was closed, where the provider was asked at all."""
    async with httpx.AsyncClient(trust_env=False) as http:
        ledger = (await http.get(f"{provider_url}/stats")).json()
    took = []
    for request in ledger["requests"]:
        if (at := asked.get(request["parameters"].get("seed"))) is not None:
            if request["state"] != "client_closed":
                raise RuntimeError(f"A cancelled job's connection is {request['state']} at the provider.")
            took.append((request["ended_monotonic"] - at) * 1000)
    return took
