"""The HTTP server under the demo provider: says when it accepts, ends at once when told to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tokentail.demo.asgi import Scope
from tokentail.shared.listening import url_of

#: Longer than any client keeps an idle connection, so that it is the client that closes it. A server that
#: closes first may do so while the next request is on its way.
_KEEP_ALIVE_SECONDS = 120


class Server(uvicorn.Server):
    """A uvicorn server that knows its connections and prints one line once it accepts."""

    def __init__(self, app: Any) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                loop="uvloop",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )

    def open_connections(self, asking: Scope) -> int:
        """How many TCP connections are open, the one that is asking aside."""
        return sum(connection.client != asking["client"] for connection in self._connections())

    def hang_up(self, scope: Scope) -> None:
        """Send what has been written to this request's connection, then close it."""
        for connection in self._connections():
            if connection.client == scope["client"]:
                connection.transport.close()

    def _connections(self) -> set[HttpToolsProtocol]:
        return cast("set[HttpToolsProtocol]", self.server_state.connections)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, and say so."""
        await super().startup(sockets)
        print(f"demo provider on {url_of((sockets or [])[0])}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End every open stream, then stop. Left to itself, uvicorn would wait for them."""
        for connection in self.server_state.connections:
            connection.transport.abort()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGTERM and SIGINT. Unlike uvicorn's own, it does not die of the signal afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
