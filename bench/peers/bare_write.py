"""The floor: ready bytes written to every socket by uvloop, with nothing behind it.

No HTTP but a fixed head, no Redis, no cursor: what a Python process can't do without. It is server and feed
in one, so it takes the feed's commands on standard input.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import orjson
import uvloop

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


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Follower, "127.0.0.1", 0, backlog=2048)
    print(f"bare write on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = orjson.loads(line)
        said = None
        if command["do"] == "open":
            said = ["all"]
        if command["do"] == "run":
            said = round(command["rate"] * command["seconds"])
            await keep_pace(said, command["rate"], _write)
        print(f"did {orjson.dumps(said).decode()}", flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
