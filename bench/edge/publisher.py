"""What feeds nchan: posts the same events over one persistent connection."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Sequence
from typing import cast

import uvloop

from bench.edge.obey import obey
from bench.edge.pace import keep_pace

#: How every answer to a publisher begins: nchan says 201 or 202, by whether anybody listens.
_ACCEPTED = b"HTTP/1.1 20"


class Publisher(asyncio.Protocol):
    """The channels of one measurement at a time."""

    def __init__(self) -> None:
        self._channels: Sequence[str] = ()
        self._answered = 0
        self._posted = 0
        self._all_answered = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        # On loopback a head of 200 bytes comes whole.
        self._answered += data.count(_ACCEPTED)
        if self._answered == self._posted:
            self._all_answered.set()

    async def open(self, jobs: int) -> Sequence[str]:
        """Name this many channels; nchan makes them when somebody comes."""
        self._channels = [secrets.token_hex(8) for _ in range(jobs)]
        return self._channels

    async def run(self, rate: float, seconds: float) -> int:
        """Post that many events a second to each; how many each has got."""
        each, channels = round(rate * seconds), len(self._channels)

        def post(first: int, end: int) -> None:
            for number in range(first, end):
                self._post(self._channels[number % channels])

        await keep_pace(each * channels, rate * channels, post)
        async with asyncio.timeout(10):
            await self._all_answered.wait()
        return each

    def _post(self, channel: str) -> None:
        body = b'{"type":"delta","content":"%d"}' % time.monotonic_ns()
        self._posted += 1
        self._all_answered.clear()
        self._transport.write(
            b"POST /pub/%s HTTP/1.1\r\nHost: bench\r\nX-EventSource-Event: delta\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (channel.encode(), len(body), body)
        )

    async def end(self) -> None:
        """Forget the channels; nchan does when they have been idle."""
        self._channels = ()


async def _serve(port: int) -> None:
    _, publisher = await asyncio.get_running_loop().create_connection(Publisher, "127.0.0.1", port)
    print("publisher ready", flush=True)
    await obey(publisher)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
