"""A TCP relay that can be told to behave like a bad network, while connections go through it."""

from __future__ import annotations

import asyncio

from tokentail.shared import tasks

#: Most bytes that are taken at once, and so the grain of delay and squeeze.
_CHUNK_BYTES = 16 * 1024


class Relay:
    """Forwards every connection to one address. `start` it, `close` it; in between it has one mode at a time.

    A mode also meets the connections that are open already. `heal` ends it: what was held back goes on, what
    was cut stays cut.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._flows = asyncio.Event()
        #: Replies that were dropped on purpose so far.
        self.lost = 0
        self.heal()

    async def start(self) -> int:
        """Listen on a free port of loopback, and say which."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        running = list(self._links.values())
        for link in list(self._links):
            link.abort()
        await tasks.end(*running)

    # Modes

    def heal(self) -> None:
        """Behave like a good network again."""
        self._refuses = False
        self._lose_every = self._lose_next = 0
        self._requests = 0
        self._delay_seconds = 0.0
        self._bytes_per_second = 0.0
        self._flows.set()

    def cut(self) -> None:
        """Drop all connections at once, and each new one as soon as it comes."""
        self.heal()
        self._refuses = True
        for link in list(self._links):
            link.abort()

    def lose_replies(self, every: int) -> None:
        """Of every so many requests one is forwarded and its reply dropped, then its connection: whether it
        was done, its sender can't know."""
        self.heal()
        self._lose_every = every

    def lose_next(self, times: int) -> None:
        """The same for so many more of the next requests."""
        self._lose_next += times

    def stall(self) -> None:
        """Take everything and pass nothing on, as if cables were cut: nobody is told."""
        self.heal()
        self._flows.clear()

    def delay(self, seconds: float) -> None:
        """Pass each piece on so much later, one after the other."""
        self.heal()
        self._delay_seconds = seconds

    def squeeze(self, bytes_per_second: float) -> None:
        """Pass no more than that on, on each connection and way."""
        self.heal()
        self._bytes_per_second = bytes_per_second

    # For links

    def dooms_next(self) -> bool:
        """Whether the request that has just come is to lose its reply."""
        if self._lose_next:
            self._lose_next -= 1
            return True
        self._requests += 1
        return bool(self._lose_every) and self._requests % self._lose_every == 0

    async def passage(self, size: int) -> None:
        """Return when so many bytes may go on."""
        pause = self._delay_seconds
        if self._bytes_per_second:
            pause += size / self._bytes_per_second
        if pause:
            await asyncio.sleep(pause)
        await self._flows.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        if self._refuses:
            link.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            await link.run(*self._target)
        except asyncio.CancelledError:
            pass  # By `close`, which nobody awaits through the server's own task.
        finally:
            del self._links[link]


class _Link:
    """One connection and its other half."""

    def __init__(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._client_reader, self._client_writer = reader, writer
        self._server_writer: asyncio.StreamWriter | None = None
        #: A request has gone through whose reply must not.
        self._doomed = False

    def abort(self) -> None:
        """Drop both halves, with what they hold."""
        for writer in (self._client_writer, self._server_writer):
            if writer is not None:
                writer.transport.abort()

    async def run(self, host: str, port: int) -> None:
        """Connect and pass on both ways until either side ends."""
        try:
            reader, self._server_writer = await asyncio.open_connection(host, port)
        except OSError:
            self.abort()
            return
        ways = (
            asyncio.create_task(self._pass_requests(self._server_writer)),
            asyncio.create_task(self._pass_replies(reader)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.end(*ways)
            self._end()

    def _end(self) -> None:
        if self._doomed:
            self.abort()
        # Not aborted: what an ending side had said still has to arrive.
        self._client_writer.close()
        if self._server_writer is not None:
            self._server_writer.close()

    async def _pass_requests(self, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await self._client_reader.read(_CHUNK_BYTES):
                self._doomed = self._doomed or self._relay.dooms_next()
                await self._relay.passage(len(data))
                writer.write(data)
                await writer.drain()
        except OSError:
            pass

    async def _pass_replies(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(_CHUNK_BYTES):
                if not self._doomed:
                    await self._relay.passage(len(data))
                if self._doomed:
                    self._relay.lost += 1
                    return
                self._client_writer.write(data)
                await self._client_writer.drain()
            await self._relay.passage(0)
        except OSError:
            pass
