"""Clients that see every byte."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import ClassVar

#: How a browser's EventSource can be known.
BROWSER = "Sec-Fetch-Mode: cors\r\n"


class Stream:
    """One client's connection, on which it asks for the events of a job. A fixture closes all."""

    opened: ClassVar[list[Stream]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.head = ""
        self.body = b""
        self.ended_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, port: int, job_id: str, *, after: str | None = None, headers: str = "", room: int | None = None
    ) -> Stream:
        """Ask, and read the head of the answer. `room`: the size of the receive buffer."""
        wire = socket.socket()
        wire.setblocking(False)
        if room is not None:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=wire, limit=room or 2**16)
        headers += f"Last-Event-ID: {after}\r\n" if after else ""
        writer.write(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        stream = cls(reader, writer)
        cls.opened.append(stream)
        async with asyncio.timeout(30):
            stream.head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return stream

    def read(self) -> Stream:
        """Read on, until the connection ends."""
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(2**16):
                self.body += data
        except ConnectionError:
            pass
        self.ended_at = asyncio.get_running_loop().time()

    async def ended(self) -> Stream:
        """Wait for the connection's end."""
        assert self._reading is not None
        async with asyncio.timeout(30):
            await self._reading
        return self

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    @property
    def is_clean(self) -> bool:
        """Whether the answer was brought to its end."""
        return self.body.endswith(b"0\r\n\r\n")

    @property
    def ids(self) -> list[str]:
        return re.findall(r"id: (\d+-\d+)\n", self.body.decode())

    def close(self) -> None:
        """The client goes."""
        self.writer.transport.abort()

    async def closed(self) -> None:
        """It has gone."""
        self.close()
        if self._reading is not None:
            await self._reading
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
