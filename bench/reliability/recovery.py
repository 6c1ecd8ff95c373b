"""Recovery: from Redis answering again until followers see tokens, and until a submit is accepted.

Redis is restarted under load, in turn after SIGTERM and after SIGKILL, and is away for another time each:
whoever tries again less and less often would be late after a long outage. It has an append-only file that it
writes before it answers, so a killed one comes back with all that it has ever confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field

import httpx

from bench.installation import Installation, api_url, worker_ready
from bench.reliability.clients import Clients
from bench.reliability.effort import Effort
from bench.reliability.follower import Follower
from bench.report import Row, spread
from tokentail.shared import tasks

#: About 30 tokens a second, for as long as it takes.
_LOAD = "counted?tokens=100000&pace_ms=33"
#: For the submits that are tried: ends as soon as it has begun.
_SHORT = "counted?tokens=1"

#: How long Redis is away besides its own stop and start. Far below the lease: longer is a matter of leases.
_AWAY_SECONDS = (0.0, 4.0)
#: Between two restarts: everybody streams again, and the worker holds little that is unconfirmed.
_CALM_SECONDS = 1.5
#: Between two submits that are tried.
_POST_SECONDS = 0.05

_PROMISE_SECONDS = 2.0
_POINTS = {"p50": 0.5, "max": 1.0}


@dataclass
class _Recoveries:
    """Seconds from Redis answering again: to each follower's next delta, and to an accepted submit."""

    deltas: list[float] = field(default_factory=list)
    submits: list[float] = field(default_factory=list)


async def measure(effort: Effort) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    found = {"SIGTERM": _Recoveries(), "SIGKILL": _Recoveries()}
    installation = Installation(
        [_LOAD, _SHORT], TOKENTAIL_CONCURRENCY=str(effort.restart_load + 10 * effort.restarts)
    )
    try:
        installation.start()
        worker, api = installation.spawn_worker(), installation.spawn_api()
        clients = Clients(api_url(api))
        worker_ready(worker)
        followers = await clients.streaming(_LOAD, effort.restart_load)
        for number in range(effort.restarts):
            how = ("SIGTERM", "SIGKILL")[number % 2]
            await _restart(installation, clients, followers, found[how], is_crash=how == "SIGKILL")
            await asyncio.sleep(_CALM_SECONDS)
        attempts = sum(len(follower.attempts) - 1 for follower in followers)
        await clients.aclose()
    finally:
        installation.close()
    limits = {"max": _PROMISE_SECONDS}
    rows = []
    for how, seen in found.items():
        rows += spread(f"next delta after Redis's restart ({how})", "s", seen.deltas, _POINTS, limits)
        rows += spread(f"accepted submit after Redis's restart ({how})", "s", seen.submits, _POINTS, limits)
    return rows, [
        f"Recovery: from Redis answering again, after {effort.restarts} restarts that took it away for "
        f"{_AWAY_SECONDS[0]:g} to {_AWAY_SECONDS[1]:g} s, until each of {effort.restart_load} followers got "
        "its next token (30 a second), and until the first submit was answered 202 (one is tried every "
        f"50 ms, meanwhile too). Generations that had to begin anew: {attempts}."
    ]


async def _restart(
    installation: Installation,
    clients: Clients,
    followers: list[Follower],
    found: _Recoveries,
    *,
    is_crash: bool,
) -> None:
    redis = installation.redis
    await asyncio.to_thread(redis.kill if is_crash else redis.stop)
    posting = _Posting(clients)
    await asyncio.sleep(random.uniform(*_AWAY_SECONDS))
    redis.spawn()
    await asyncio.to_thread(redis.wait_ready)
    ready = time.monotonic()

    def after(follower: Follower) -> float | None:
        at = follower.delta_at
        return at if at is not None and at >= ready else None

    # All at the same time: who is asked later would tell of a later delta.
    deltas = (follower.heard(lambda f=follower: after(f)) for follower in followers)  # type: ignore[misc]
    found.deltas += [at - ready for at in await asyncio.gather(*deltas)]
    found.submits.append(max(0.0, await posting.accepted() - ready))


class _Posting:
    """A submit every now and then, none waiting for the one before."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._posts: set[asyncio.Task[None]] = set()
        self._accepted: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run())

    async def accepted(self) -> float:
        """When the first 202 came (monotonic). Then no more is posted."""
        try:
            return await self._accepted
        finally:
            await tasks.end(self._running, *self._posts)

    async def _run(self) -> None:
        while True:
            post = asyncio.create_task(self._post())
            self._posts.add(post)
            post.add_done_callback(self._posts.discard)
            await asyncio.sleep(_POST_SECONDS)

    async def _post(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            answer = await self._clients.post(_SHORT)
            if answer.status_code == 202 and not self._accepted.done():
                self._accepted.set_result(time.monotonic())
