"""A client that follows one log, and knows when it heard what."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httptools
import orjson

from tokentail.client.sse import Decoder
from tokentail.shared.events import ENDINGS

#: Between two connections.
_AGAIN_SECONDS = 0.05
_BLOCK_BYTES = 65536
#: What is waited for longer will never come.
_PATIENCE_SECONDS = 120.0


class Follower:
    """Comes back with its cursor whenever its connection ends, until it has heard the ending.

    Moments are monotonic. An HTTP library would take several times the CPU for each event, and hundreds of
    these share a machine with what they look at.
    """

    def __init__(self, url: str, job: str) -> None:
        self.job = job
        self.deltas = 0
        self.connections = 0
        #: How the job ended, and when that was heard; None before.
        self.ending: str | None = None
        self.ended_at: float | None = None
        #: When each attempt was heard to begin, by its number.
        self.attempts: dict[int, float] = {}
        #: When the newest delta was heard.
        self.delta_at: float | None = None
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._cursor = ""
        self._status = 0
        self._complete = False
        self._most: int | None = None
        self._now = 0.0
        self._news = asyncio.Event()

    async def run(self, drop_after: int | None = None) -> None:
        """Follow to the end. With `drop_after`, each connection is dropped once after so many deltas."""
        while self.ending is None:
            self._most = None if drop_after is None else self.deltas + drop_after
            drop_after = None
            with contextlib.suppress(OSError):
                await self._connect()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def heard(self, moment: Callable[[], float | None]) -> float:
        """The moment as soon as there is one. For one waiter at a time. Raises TimeoutError."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (at := moment()) is None:
                self._news.clear()
                await self._news.wait()
        return at

    async def _connect(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self.connections += 1
        self._complete, self._decoder = False, Decoder()
        parser = self._parser = httptools.HttpResponseParser(self)
        resume = f"Last-Event-ID: {self._cursor}\r\n" if self._cursor else ""
        try:
            path = f"/v1/jobs/{self.job}/events"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n{resume}\r\n".encode())
            while not self._is_over() and (block := await reader.read(_BLOCK_BYTES)):
                self._now = time.monotonic()
                parser.feed_data(block)
        finally:
            writer.close()

    def _is_over(self) -> bool:
        return self._complete or (self._most is not None and self.deltas >= self._most)

    # Called by the parser

    def on_headers_complete(self) -> None:
        """Refused for now is tried again; refused for good is nothing that can be measured."""
        self._status = self._parser.get_status_code()
        if self._status not in (200, 204, 503):
            raise RuntimeError(f"Following {self.job} was answered {self._status}.")

    def on_body(self, body: bytes) -> None:
        """Take in what is new."""
        if self._status == 200:
            for event in self._decoder.feed(body):
                self._cursor = event.id
                self._hear(event.event, event.data)
            self._news.set()

    def on_message_complete(self) -> None:
        """The answer has ended."""
        self._complete = True

    def _hear(self, kind: str, data: str) -> None:
        if kind == "delta":
            self.deltas += 1
            self.delta_at = self._now
        elif kind == "attempt":
            self.attempts[orjson.loads(data)["attempt"]] = self._now
        elif kind in ENDINGS:
            self.ending, self.ended_at = kind, self._now
