"""Ways to lose a Redis: a line that drops replies, a server that forgets."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

from tokentail.stack.redis_server import RedisServer


class Line:
    """A TCP line to Redis. What is sent arrives; `lose_replies` makes it cut off before the next replies."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self.url = ""
        self.lost = 0
        self._losses = 0

    def lose_replies(self, times: int = 1) -> None:
        """The next answers never arrive, though their commands do."""
        self._losses += times

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        commands = asyncio.create_task(self._pass_on(reader, far_writer))
        replies = asyncio.create_task(self._pass_on(far_reader, writer, self._is_lost))
        # Whichever end breaks off, the other one notices.
        try:
            await asyncio.wait([commands, replies], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (commands, replies):
                task.cancel()
            await asyncio.gather(commands, replies, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()
            for end in (writer, far_writer):
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    @staticmethod
    async def _pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_lost: Callable[[], bool] | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if is_lost is not None and is_lost():
                    return
                writer.write(data)
                await writer.drain()

    def _is_lost(self) -> bool:
        if not self._losses:
            return False
        self._losses -= 1
        self.lost += 1
        return True


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    line = Line(url)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        # asyncio's server takes a cancelled callback for a bug.
        with contextlib.suppress(asyncio.CancelledError):
            await line.serve(reader, writer)
        serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield line
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


class Memory:
    """What a server had on disk at one moment, to make it forget what came later."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        with redis.Redis.from_url(server.url) as client:
            # Writes out what a slow disk may have made it put off.
            client.config_set("appendfsync", "always")
            client.ping()
        for path in self._files(server.directory):
            self._copy(path, folder / path.name)

    @staticmethod
    def _files(directory: Path) -> list[Path]:
        return sorted(directory.glob("appendonly*"))

    @staticmethod
    def _copy(path: Path, to: Path) -> None:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, to)

    def bring_back(self) -> None:
        """Crash the server and start it with what it knew then."""
        self._server.kill()
        for path in self._files(self._server.directory):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._files(self._folder):
            self._copy(path, self._server.directory / path.name)
        self._server.start()
