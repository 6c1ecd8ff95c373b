"""What stands before the API in a browser's world: a server that has the page, and passes /v1 on.

It is as transparent as can be: what the API says goes to the browser as it comes, and where the API breaks
off, so does it. Where there is no API it hangs up, as a network does that lost one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

_BLOCK_BYTES = 64 * 1024


@dataclass
class Asked:
    """A request for events: the cursor it came with, and the status of the answer."""

    cursor: str | None
    status: int | None = None


@dataclass
class SameOrigin:
    """`serve` it; `api_url` says where the API is just now. `reports` is what the page has told, in order."""

    page: bytes
    api_url: Callable[[], str]
    asked: list[Asked] = field(default_factory=list)
    reports: list[Any] = field(default_factory=list)

    async def serve(self) -> asyncio.Server:
        """Listens on a free port."""
        return await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            _, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
            headers = _headers(head)
            if path.startswith(b"/v1/"):
                await self._pass_on(head, headers, writer)
            elif path == b"/report":
                body = await reader.readexactly(int(headers["content-length"]))
                self.reports.append(orjson.loads(body))
                writer.write(_said(b"204 No Content", b""))
            else:
                writer.write(_said(b"200 OK", self.page if path == b"/" else b""))
            await writer.drain()
        writer.close()

    async def _pass_on(self, head: bytes, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        asked = Asked(headers.get("last-event-id"))
        self.asked.append(asked)
        url = urlsplit(self.api_url())
        reader, api = await asyncio.open_connection(url.hostname, url.port)
        try:
            api.write(head.replace(b"Connection: keep-alive\r\n", b"Connection: close\r\n"))
            said = await reader.readline()
            asked.status = int(said.split(b" ")[1])
            while said:
                writer.write(said)
                await writer.drain()
                said = await reader.read(_BLOCK_BYTES)
        finally:
            api.close()


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _said(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n" % status
    length = b"" if status.startswith(b"204") else b"Content-Length: %d\r\n" % len(body)
    return head + length + b"\r\n" + body
