"""Serving the edge with uvicorn, and stopping it in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

import structlog
import uvicorn

from tokentail.api import tracking
from tokentail.api.app import REDIS_SECONDS, create_app
from tokentail.api.context import Context
from tokentail.api.crew import HURRY_SIGNAL, STOP_SIGNALS, Crew
from tokentail.api.descriptors import fitted
from tokentail.api.drain import Drain
from tokentail.api.wire import WireProtocol
from tokentail.shared import logging, tasks
from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.listening import BACKLOG, bound_unsent, listen, listen_for_each, url_of
from tokentail.shared.models import ModelList
from tokentail.shared.planes import data_plane
from tokentail.shared.settings import Settings

#: After the window: what ended streams have buffered may still go out, and requests that came last end. Then
#: whoever takes nothing is dropped. With the window it is over before Docker kills.
GOODBYE_SECONDS = 2

#: What uvicorn then has for what no dropped connection ends, before it cancels it.
_CANCEL_SECONDS = 1

#: Between two looks for requests that began to wait for a job's ending after all others had been let go.
_LOOK_SECONDS = 0.1

logger = structlog.get_logger()


def serve(settings: Settings, *, host: str, port: int, workers: int = 1) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Port 0 takes a free one.

    The first signal ends everything in order, within `api_drain_seconds` and a few seconds; a second one
    ends the streams at once. Prints `api on http://<host>:<port>` on standard output when it listens. Raises
    ConfigError, before anything is started, when the address is taken, the model list is wrong, or a Redis
    answers that can't be used. One that is away is waited for: requests are refused until it answers.
    """
    logging.configure(settings, os.environ)
    ModelList.load(settings.models or ModelList.demo_path())
    settings = fitted(settings)
    asyncio.run(_refuse_unusable(settings))
    listeners = listen_for_each(workers, host, port) if workers > 1 else [listen(host, port)]
    for listener in listeners:
        bound_unsent(listener)
    greeting = f"api on {url_of(listeners[0])}"
    if workers > 1:
        # We keep them open: who comes to one whose process has died waits for the next one.
        each = [(settings, listener) for listener in listeners]
        code = Crew(_serve_as_one_of_many, each, settings.api_drain_seconds).run(greeting)
        _hear_no_more()
        return code
    server = EdgeServer(settings)
    # Before anybody can know that we are here, or a signal that comes now would end us as an error.
    for number in STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    print(greeting, flush=True)
    code = server.serve_on(listeners[0])
    _hear_no_more()
    return code


def _hear_no_more() -> None:
    """Python takes a while to end, without our handlers: one signal more would be an exit with an error."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _serve_as_one_of_many(settings: Settings, listener: socket.socket) -> int:
    """What each process of a crew does. Its signals come from the crew's head, who knows which is the
    second one: one that goes to a whole group also comes here by itself. SIGINT stays blocked."""
    logging.configure(settings, {})
    structlog.contextvars.bind_contextvars(pid=os.getpid())  # Their lines stand among each other's.
    server = EdgeServer(settings)
    signal.signal(signal.SIGTERM, server.handle_stop)
    signal.signal(HURRY_SIGNAL, server.handle_hurry)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return server.serve_on(listener)


async def _refuse_unusable(settings: Settings) -> None:
    """Raises ConfigError if a server answers that no waiting will make fit."""
    async with store.client(settings.redis_url) as redis, data_plane(settings.log_url) as plane:
        for check in (
            functools.partial(store.check, redis),
            plane.check,
            functools.partial(tracking.check, plane),
        ):
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(REDIS_SECONDS):
                    await check()


class EdgeServer(uvicorn.Server):
    """uvicorn, which by itself stops listening on a signal and leaves open streams open.

    Here, a signal makes the process say that it is not ready. It listens on, while its streams are ended over
    the window; then uvicorn's own end comes, and who can't be sent even that is dropped.
    """

    def __init__(self, settings: Settings) -> None:
        config = uvicorn.Config(
            functools.partial(create_app, settings, on_started=self._on_started),
            factory=True,
            loop="uvloop",
            http=WireProtocol,
            # It can't be told by looking at an app that awaits nothing itself.
            interface="asgi3",
            # Nothing here asks who the client is, and each layer stays in memory with each stream.
            proxy_headers=False,
            ws="none",
            lifespan="on",
            # It prints query strings, and they will hold tokens.
            access_log=False,
            log_level="warning",
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GOODBYE_SECONDS + _CANCEL_SECONDS,
        )
        super().__init__(config)
        self._seconds = settings.api_drain_seconds
        self._signals = 0
        self._context: Context | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: Drain | None = None
        self._draining: asyncio.Task[None] | None = None

    def serve_on(self, listener: socket.socket) -> int:
        """Serve until a signal; returns the exit code."""
        self.run(sockets=[listener])
        return 0 if self._context is not None and not self._context.is_broken else 1

    def _on_started(self, context: Context) -> None:
        self._context, self._loop = context, asyncio.get_running_loop()
        if (head := multiprocessing.parent_process()) is not None:
            # Killed, it can tell nobody; without it, we would hold the port against its successor.
            self._loop.add_reader(head.sentinel, self._on_orphaned, head.sentinel)

    def _on_orphaned(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        self._hurry()

    # Signals

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first time stop in order, the second time at once."""
        self._signals += 1
        self._soon(self._stop if self._signals == 1 else self._hurry)

    def handle_stop(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order, however often it is said."""
        self._soon(self._stop)

    def handle_hurry(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once."""
        self._soon(self._hurry)

    def _soon(self, callback: Callable[[], None]) -> None:
        if self._loop is None:
            self.should_exit = True  # Nobody has been served yet.
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's way is to take all signals, and to raise them once more when it has stopped, which is an
        exit with an error: ours are handled already."""
        yield

    # The end, in order

    def _stop(self) -> None:
        if self._draining is not None or self._context is None:
            return
        context = self._context
        context.draining = True
        for connection in self._connections():
            if connection.cycle is not None and not connection.cycle.response_complete:
                connection.shutdown()  # Once it is answered it is closed, or its client would ask here again.
        # Without its reader it has nothing to tell anybody.
        seconds = 0.0 if context.is_broken else self._seconds
        logger.info("stopping", streams=context.streams.open, seconds=seconds)
        self._drain = Drain(context.tails, seconds)
        self._draining = asyncio.create_task(self._drain.run())

    def _hurry(self) -> None:
        self._stop()
        if self._drain is not None:
            self._drain.hurry()

    async def on_tick(self, counter: int) -> bool:
        """Called every tenth of a second; whether to end."""
        return await super().on_tick(counter) or (self._draining is not None and self._draining.done())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and see the last ones off."""
        goodbye = asyncio.create_task(self._see_off())
        try:
            await super().shutdown(sockets)
        finally:
            await tasks.end(goodbye)

    async def _see_off(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + GOODBYE_SECONDS
        while loop.time() < until:
            if self._drain is not None:
                self._drain.end_all()
            await asyncio.sleep(_LOOK_SECONDS)
        for connection in self._connections():
            connection.transport.abort()

    def _connections(self) -> list[WireProtocol]:
        return cast("list[WireProtocol]", list(self.server_state.connections))
