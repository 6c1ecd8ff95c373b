"""Everybody who wants something of one API: submits, follows, cancels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from bench.reliability.follower import Follower
from bench.scenarios import MESSAGES
from tokentail.shared import tasks

#: Longer than the API takes for anything.
_ANSWER_SECONDS = 30.0


class Clients:
    """The clients of one API. Close them at the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = httpx.AsyncClient(base_url=url, timeout=_ANSWER_SECONDS, limits=limits, trust_env=False)
        self._following: set[asyncio.Task[None]] = set()

    async def post(self, model: str, **fields: Any) -> httpx.Response:
        """Submit a job, whatever the answer. Raises httpx.TransportError when there is none."""
        body = {"model": model, "messages": MESSAGES, **fields}
        return await self._http.post("/v1/jobs", json=body)

    async def submit(self, model: str, **fields: Any) -> str:
        """Submit a job; returns its id. Raises RuntimeError when it is refused."""
        answer = await self.post(model, **fields)
        if answer.status_code != 202:
            raise RuntimeError(f"A submit was answered {answer.status_code}: {answer.text}")
        return str(answer.json()["id"])

    async def cancel(self, job: str) -> None:
        """Ask for a job's end."""
        (await self._http.post(f"/v1/jobs/{job}/cancel")).raise_for_status()

    def follow(self, job: str, drop_after: int | None = None) -> Follower:
        """Follow a job until its ending, beside whatever else is done; `drop_after` as in `Follower.run`."""
        follower = Follower(self._url, job)
        task = asyncio.create_task(follower.run(drop_after))
        self._following.add(task)
        task.add_done_callback(self._over)
        return follower

    def _over(self, task: asyncio.Task[None]) -> None:
        self._following.discard(task)
        if not task.cancelled():
            task.result()

    async def streaming(self, model: str, count: int) -> list[Follower]:
        """Submit and follow so many jobs, and wait until each has said something."""
        followers = [self.follow(await self.submit(model)) for _ in range(count)]
        for follower in followers:
            await follower.heard(lambda f=follower: f.delta_at)  # type: ignore[misc]
        return followers

    async def end(self, followers: Sequence[Follower]) -> None:
        """Cancel jobs and wait until their followers have heard of it."""
        for follower in followers:
            await self.cancel(follower.job)
        for follower in followers:
            await follower.heard(lambda f=follower: f.ended_at)  # type: ignore[misc]

    async def aclose(self) -> None:
        """Close all connections."""
        await tasks.end(*self._following)
        await self._http.aclose()
