"""Tails at work, and followers that read them to the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from given import eventually

from tokentail.api.tail import Follower
from tokentail.api.tails import Tails
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.planes import data_plane


@asynccontextmanager
async def tails_at(url: str) -> AsyncIterator[Tails]:
    async with data_plane(url) as plane:
        tails = Tails(plane)
        reader = asyncio.create_task(tails.run())
        try:
            yield tails
        finally:
            while not reader.done():
                reader.cancel()
                await asyncio.wait([reader], timeout=0.1)
            if not reader.cancelled():
                reader.result()


class Client:
    """One follower, read as a client would: it keeps events with their ids."""

    def __init__(self, tails: Tails, job_id: str, after: Cursor = START) -> None:
        self.aborted = 0
        self.tails = tails
        self.follower: Follower = tails.follow(job_id, after, self._abort)
        self.raw = b""
        self.task = asyncio.create_task(self._read())
        self.task.add_done_callback(lambda _: tails.leave(self.follower))

    def _abort(self) -> None:
        self.aborted += 1

    async def _read(self) -> None:
        while (chunk := await self.follower.next()) is not None:
            self.raw += chunk
            self.follower.sent_at = asyncio.get_running_loop().time()

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
