"""Ways to lose a Redis: a line that drops replies, a server that forgets."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

from chaos.relay import Relay
from tokentail.stack.redis_server import RedisServer


class Line:
    """A TCP line to Redis. What is sent arrives; `lose_replies` makes it cut off before the next replies."""

    def __init__(self, relay: Relay, port: int) -> None:
        self._relay = relay
        self.url = f"redis://127.0.0.1:{port}/0"

    def lose_replies(self, times: int = 1) -> None:
        """The next answers never arrive, though their commands do."""
        self._relay.lose_next(times)

    @property
    def lost(self) -> int:
        """Replies that never arrived so far."""
        return self._relay.lost


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    parts = urlsplit(url)
    relay = Relay(parts.hostname or "", parts.port or 0)
    try:
        yield Line(relay, await relay.start())
    finally:
        await relay.close()


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
