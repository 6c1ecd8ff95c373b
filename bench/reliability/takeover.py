"""Takeover: from the SIGKILL of a worker until a follower of its job is told of the next attempt.

A lease is renewed four times in its length, so how much of it is left when its worker dies is a matter of
luck: each is killed at a moment of its own. What comes on top is ours: a living worker has to notice that the
lease has lapsed, claim the job and open its log, and an API has to tell the follower.

A worker that dies with many jobs leaves many suspects, which run alone until their model has spoken or a
quarter of a second is over. So its last job comes back later than its first, and the more survivors there are
the sooner.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from redis.asyncio import Redis

from bench.installation import Installation, api_url, worker_ready
from bench.processes import Process
from bench.reliability.clients import Clients
from bench.reliability.effort import Effort
from bench.reliability.follower import Follower
from bench.report import Row, percentile, spread
from tokentail.shared import keys
from tokentail.worker.heartbeat import RENEWALS_PER_LEASE

#: In flight for as long as it takes; its first token comes at once.
_RUNNING = "counted?tokens=900&pace_ms=1000"
#: The same with the first token of a large model, which comes later than a suspect is kept alone.
_THINKING = "counted?tokens=900&pace_ms=1000&first_ms=500"

#: What a worker runs unless it is told otherwise.
_CROWD = 20

#: On top of the lease, for a job whose worker had only that one.
_PROMISE_SECONDS = 1.0

_POINTS = {"p50": 0.5, "p90": 0.9, "max": 1.0}


async def measure(effort: Effort) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    rows = []
    for lease in effort.leases:
        took = await _deaths(lease, effort.kills, effort.kills_at_once)
        limits = {"max": lease + _PROMISE_SECONDS}
        rows += spread(f"takeover, lease {lease:g} s", "s", took, _POINTS, limits)
    lease = effort.crowd_lease
    for survivors in effort.crowd_survivors:
        deaths = [await _crowd(lease, survivors) for _ in range(effort.crowd_deaths)]
        measure = f"takeover of {_CROWD} jobs, lease {lease:g} s, survivors: {survivors}"
        rows += _crowd_rows(measure, deaths)
    return rows, [
        "Takeover: SIGKILL of a worker to the `attempt` event of the next attempt at a follower. Each "
        f"worker ran one job and was killed at a random moment, {effort.kills_at_once} of them within a "
        "quarter of a lease; as many idle workers took over. Of many jobs of one worker: the first, the "
        "middle and the last one, medians over the deaths; their model's first token takes 500 ms."
    ]


def _crowd_rows(measure: str, deaths: Sequence[list[float]]) -> list[Row]:
    jobs = {"first job": 0, "half of them": _CROWD // 2 - 1, "last job": _CROWD - 1}
    return [
        Row(
            f"{measure}, {name}",
            "s",
            percentile([sorted(took)[place] for took in deaths], 0.5),
            None,
            (len(deaths),),
        )
        for name, place in jobs.items()
    ]


async def _deaths(lease: float, kills: int, at_once: int) -> list[float]:
    """Kill workers that have one job each, some at a time, while as many others are idle."""
    took: list[float] = []
    installation = _installation(lease, TOKENTAIL_CONCURRENCY="1")
    try:
        installation.start()
        clients = Clients(api_url(installation.spawn_api()))
        workers: dict[str, Process] = {}
        while len(took) < kills:
            workers |= _started(installation, 2 * at_once - len(workers))
            followers = await clients.streaming(_RUNNING, min(at_once, kills - len(took)))
            owners = [await _owner(installation, follower) for follower in followers]
            deaths = (
                _death(follower, workers.pop(owner), random.uniform(0, lease / RENEWALS_PER_LEASE))
                for follower, owner in zip(followers, owners, strict=True)
            )
            took += await asyncio.gather(*deaths)
            await clients.end(followers)
        await clients.aclose()
    finally:
        installation.close()
    return took


async def _crowd(lease: float, survivors: int) -> list[float]:
    """Kill a worker that has many jobs."""
    installation = _installation(lease, TOKENTAIL_CONCURRENCY=str(_CROWD))
    try:
        installation.start()
        clients = Clients(api_url(installation.spawn_api()))
        victim = installation.spawn_worker()
        worker_ready(victim)
        followers = await clients.streaming(_THINKING, _CROWD)
        # Only now, or they would have taken some of the jobs.
        _started(installation, survivors)
        await asyncio.sleep(random.uniform(0, lease / RENEWALS_PER_LEASE))
        killed_at = victim.kill()
        heard = [await follower.heard(lambda f=follower: f.attempts.get(2)) for follower in followers]  # type: ignore[misc]
        await clients.end(followers)
        await clients.aclose()
    finally:
        installation.close()
    return [at - killed_at for at in heard]


def _installation(lease: float, **settings: str) -> Installation:
    return Installation([_RUNNING, _THINKING], TOKENTAIL_LEASE_SECONDS=str(lease), **settings)


def _started(installation: Installation, count: int) -> dict[str, Process]:
    """Workers by their id, started together."""
    workers = [installation.spawn_worker() for _ in range(count)]
    return {worker_ready(worker): worker for worker in workers}


async def _owner(installation: Installation, follower: Follower) -> str:
    async with Redis.from_url(installation.redis_url, decode_responses=True) as redis:
        return str(await redis.hget(keys.record(follower.job), "owner"))


async def _death(follower: Follower, worker: Process, after: float) -> float:
    await asyncio.sleep(after)
    killed_at = worker.kill()
    return await follower.heard(lambda: follower.attempts.get(2)) - killed_at
