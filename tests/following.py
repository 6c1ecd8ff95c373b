"""Tails at work, and followers that read them to the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from given import at_work, eventually
from sink import Sink

from tokentail.api.follower import Follower
from tokentail.api.tails import Tails
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.events import Event
from tokentail.shared.planes import data_plane

#: What the tails of a test may hold.
MAX_BYTES = 64 * 1024 * 1024


@asynccontextmanager
async def tails_at(url: str, *, max_bytes: int = MAX_BYTES) -> AsyncIterator[Tails]:
    async with data_plane(url) as plane:
        tails = Tails(plane, max_bytes=max_bytes)
        async with at_work(tails.run()):
            yield tails


def told(fence: int, *log: Event) -> list[tuple[str | None, Any]]:
    """What a `Client` has been told of an attempt: (id, event) of each entry."""
    return [(f"{fence}-{seq}", event) for seq, event in enumerate(log)]


class Client:
    """One follower, read as a client would: it keeps events with their ids."""

    def __init__(self, tails: Tails, job_id: str, after: Cursor = START) -> None:
        self.tails = tails
        self.job_id = job_id
        self.sink = Sink()
        self.follower: Follower = tails.follow(job_id, after, self.sink)
        self.follower.start()
        self.task = asyncio.create_task(self._stay())
        self.task.add_done_callback(lambda _: tails.leave(self.follower))

    async def _stay(self) -> None:
        await self.follower.over

    @property
    def raw(self) -> bytes:
        """All bytes that it was told."""
        return self.sink.raw

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        """(id, data) of each block read so far."""
        found = []
        for block in self.raw.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            data = orjson.loads(fields["data"])
            assert fields["event"] == data["type"]
            found.append((fields.get("id"), data))
        return found

    async def ended(self) -> list[tuple[str | None, Any]]:
        """All it was told, once the stream is over."""
        async with asyncio.timeout(20):
            await self.task
        return self.events

    async def saw(self, count: int) -> None:
        """Wait until it has been told so many events."""
        await eventually(lambda: len(self.events) >= count)

    async def gone(self) -> None:
        """The client goes."""
        self.task.cancel()
        await asyncio.wait([self.task])
