"""What a connection says of its client, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from given import PATIENCE_SECONDS, eventually
from uvicorn.server import ServerState

from tokentail.api.wire import Wire, WireProtocol, chunk, wire_of

PIECE = chunk(b"x" * 64 * 1024)
#: Far more of them than the system takes for a client that reads nothing.
MANY = 1000


class Told:
    """A listener that notes what it is told, and how it was then."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.heard: list[tuple[str, bool, bool]] = []

    def _note(self, what: str) -> None:
        self.heard.append((what, self._wire.is_full, self._wire.is_lost))

    def full(self) -> None:
        self._note("full")

    def room(self) -> None:
        self._note("room")

    def lost(self) -> None:
        self._note("lost")


class Answer:
    """An answer that has begun, and ends when it is `over`."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.wire: Any = None
        self.told: Any = None

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        wire = wire_of(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.told = wire.listener = Told(wire)
        self.wire = wire
        await self.over.wait()
        await send({"type": "http.response.body", "body": b""})


def filled(wire: Wire) -> int:
    """Write to a client that reads nothing until it is full; returns how many bytes that took."""
    write = wire.writer()
    for count in range(1, MANY):
        write(PIECE)
        if wire.is_full:
            return count * len(PIECE)
    raise AssertionError("It takes everything.")


@asynccontextmanager
async def asked() -> AsyncIterator[tuple[Answer, asyncio.StreamReader, asyncio.StreamWriter]]:
    """An answer, and both ends of its client's connection."""
    answer, state = Answer(), ServerState()
    config = uvicorn.Config(answer.app, interface="asgi3", lifespan="off", ws="none", log_config=None)
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: WireProtocol(config, state, {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        await eventually(lambda: answer.wire is not None)
        yield answer, reader, writer
    finally:
        answer.over.set()
        writer.transport.abort()
        server.close()
        await eventually(lambda: not (state.connections or state.tasks))


async def test_it_says_when_it_is_full_and_when_there_is_room_again() -> None:
    async with asked() as (answer, reader, _):
        # Given a client that reads nothing
        wire = answer.wire
        written = filled(wire)
        # Then it said so once, from within a write
        assert answer.told.heard == [("full", True, False)]
        assert wire.taken() is not None
        # When the client reads
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(written)
        # Then there is room, and an end that arrives
        await eventually(lambda: answer.told.heard[1:] == [("room", False, False)])
        await eventually(lambda: wire.taken() is None)
        answer.over.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reader.readuntil(b"\r\n\r\n") == b"0\r\n\r\n"


async def test_it_says_once_that_its_client_has_gone() -> None:
    async with asked() as (answer, _, writer):
        # When the client goes
        writer.transport.abort()
        await eventually(lambda: answer.told.heard)
        # Then that was said, and can be asked; and asking for more does no harm
        assert answer.told.heard == [("lost", False, True)]
        assert answer.wire.taken() is None
        answer.wire.abort()


async def test_who_takes_nothing_is_dropped_without_waiting_for_it() -> None:
    async with asked() as (answer, _, _writer):
        filled(answer.wire)
        # When a client that takes nothing is dropped; Then its connection is gone
        answer.wire.abort()
        await eventually(lambda: answer.wire.is_lost)
        assert [what for what, _, _ in answer.told.heard] == ["full", "lost"]
