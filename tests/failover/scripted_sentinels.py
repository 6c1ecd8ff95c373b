"""Sentinels that say what a test wants them to, over the real protocol."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import hiredis
from sentinels import NAME, port_of

from tokentail.stack.redis_server import RedisServer


@dataclass
class ScriptedSentinel:
    """Answers who leads, as its fields say; `error` instead if there is one; nothing while `silent`."""

    leader: RedisServer
    epoch: int = 1
    #: While it makes `leader` the primary: the one before, of which SENTINEL MASTER still speaks.
    before: RedisServer | None = None
    flags: str = "master"
    error: str | None = None
    silent: bool = False
    #: How many are connected to it.
    clients: int = 0
    #: Every command that it was sent.
    heard: list[list[str]] = field(default_factory=list)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader(encoding="utf-8")
        self.clients += 1
        try:
            while data := await reader.read(4096):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    self.heard.append(command)
                    if not self.silent:
                        writer.write(self._answer(command))
                        await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.clients -= 1
            writer.close()

    def _answer(self, command: list[str]) -> bytes:
        if command[0] == "AUTH":
            return b"+OK\r\n"
        if self.error is not None:
            return f"-{self.error}\r\n".encode()
        if command == ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]:
            return _list(["127.0.0.1", str(port_of(self.leader))])
        assert command == ["SENTINEL", "MASTER", NAME]
        told = {
            "name": NAME,
            "ip": "127.0.0.1",
            "port": str(port_of(self.before or self.leader)),
            "flags": self.flags,
            "config-epoch": str(self.epoch),
        }
        return _list([word for pair in told.items() for word in pair])


def _list(words: list[str]) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


def url_of(*sentinels: ScriptedSentinel, options: str = "") -> str:
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    return f"redis+sentinel://{hosts}/{NAME}/0{options}"
