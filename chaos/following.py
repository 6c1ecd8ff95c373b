"""One client that follows one log: it drops, stalls, hammers, and always comes back with its cursor."""

from __future__ import annotations

import asyncio

import httpx
import orjson

from chaos.edge import Edge
from chaos.history import Entry, Follower, Job, Submission
from chaos.plan import Following
from tokentail.client.sse import Decoder
from tokentail.shared.events import ENDINGS

#: A stream that is silent for this long is dead: a comment comes every second.
SILENT_SECONDS = 6.0

#: Between two connections.
_AGAIN_SECONDS = 0.2

#: Events that a hammering client reads of each of its visits, and that a stalling one reads before it stalls.
_VISIT_EVENTS = 3


class Stream:
    """A client's connections to one log, one after the other."""

    def __init__(self, edge: Edge, job: Job, submission: Submission, following: Following) -> None:
        self._edge = edge
        self._job = job
        self._submission = submission
        self._following = following
        self._stall = following.stall

    async def follow(self, name: str, first_api: int) -> None:
        """Follow until told that nothing more comes; each connection goes to the next API."""
        await asyncio.sleep(self._following.after)
        for visit in range(self._following.hammers):
            self._edge.counts["visits of hammering followers"] += 1
            await self._connect(self._add(f"{name}, visit {visit}"), first_api + visit, _VISIT_EVENTS)
        follower = self._add(name)
        follower.stays = True
        drops = list(self._following.drops)
        api = first_api
        while not self._edge.is_over:
            most = drops.pop(0) if drops else None
            if await self._connect(follower, api, most):
                return
            self._edge.counts["drops by followers"] += most is not None
            self._edge.counts["reconnects"] += 1
            api += 1
            await asyncio.sleep(_AGAIN_SECONDS)

    def _add(self, name: str) -> Follower:
        follower = Follower(name)
        self._job.followers.append(follower)
        return follower

    async def _connect(self, follower: Follower, api: int, most: int | None) -> bool:
        """One connection, of at most so many events. Returns whether nothing more is to be had."""
        url = self._edge.url(f"/v1/jobs/{self._job.id}/events", api)
        after = _cursor(follower)
        headers = {"Last-Event-ID": after} if after else {}
        try:
            async with self._edge.http.stream("GET", url, headers=headers, timeout=SILENT_SECONDS) as answer:
                self._edge.judge("following", self._submission, answer.status_code, 200, 204)
                if answer.status_code == 200:
                    await self._read(follower, answer, most)
                elif answer.status_code == 204:
                    follower.finished = True
                return follower.finished or answer.status_code in (404, 410)
        except httpx.TransportError:
            self._edge.counts["connections lost by followers"] += 1
            return follower.finished

    async def _read(self, follower: Follower, answer: httpx.Response, most: int | None) -> None:
        """To the stream's end, also behind an ending: there must be nothing."""
        decoder, count = Decoder(), 0
        async for data in answer.aiter_bytes():
            for block in decoder.feed(data):
                event = orjson.loads(block.data)
                is_reset = event["type"] == "reset"
                self._edge.counts["resets"] += is_reset
                follower.seen.append(Entry(None if is_reset else block.id, event))
                follower.finished = follower.finished or event["type"] in ENDINGS
                count += 1
                if count == most:
                    return
            if self._stall and count >= _VISIT_EVENTS:
                self._edge.counts["stalls of followers"] += 1
                pause, self._stall = self._stall, 0.0
                await asyncio.sleep(pause)


def _cursor(follower: Follower) -> str | None:
    """The newest id since the last reset."""
    return follower.seen[-1].id if follower.seen else None
