"""The floor: ready bytes written to every socket by uvloop, with nothing behind it.

No HTTP but a fixed head, no Redis, no cursor: what a Python process can't do without. It is server and feed
in one.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

import uvloop

from bench.edge.obey import obey
from bench.edge.pace import keep_pace

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class _Follower(asyncio.Protocol):
    everybody: set[_Follower] = set()  # noqa: RUF012 -- one server per process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.everybody.add(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(_HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self.everybody.discard(self)


def _write(first: int, end: int) -> None:
    for number in range(first, end):
        data = b'{"type":"delta","content":"%d"}' % time.monotonic_ns()
        frame = b"id: 1763881234567-%d\nevent: delta\ndata: %s\n\n" % (number, data)
        chunk = b"%x\r\n%s\r\n" % (len(frame), frame)
        for follower in _Follower.everybody:
            follower.transport.write(chunk)


class _Feed:
    """There is one log, without a past and without an end."""

    async def open(self, jobs: int) -> list[str]:
        return ["all"]

    async def run(self, rate: float, seconds: float) -> int:
        count = round(rate * seconds)
        await keep_pace(count, rate, _write)
        return count

    async def end(self) -> None:
        pass


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Follower, "127.0.0.1", 0, backlog=2048)
    print(f"bare write on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await obey(_Feed())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
