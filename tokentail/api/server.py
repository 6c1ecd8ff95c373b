"""Serving the edge with uvicorn: sockets, processes, signals."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from tokentail.api.app import REDIS_SECONDS, create_app
from tokentail.api.context import Context
from tokentail.api.wire import WireProtocol
from tokentail.shared import logging
from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.listening import BACKLOG, listen, url_of
from tokentail.shared.models import ModelList
from tokentail.shared.planes import data_plane
from tokentail.shared.settings import Settings

#: Streams end at once when told to; this is for a client that takes nothing of what is buffered for it.
GOODBYE_SECONDS = 5

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: Settings, *, host: str, port: int, workers: int = 1) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Port 0 takes a free one.

    Prints `api on http://<host>:<port>` on standard output when it listens. Raises ConfigError, before
    anything is started, when the address is taken, the model list is wrong, or a Redis answers that can't be
    used. One that is away is waited for: requests are refused until it answers.
    """
    logging.configure(settings, os.environ)
    ModelList.load(settings.models or ModelList.demo_path())
    asyncio.run(_refuse_unusable(settings))
    listener = listen(host, port)
    started: list[Context] = []
    config = uvicorn.Config(
        functools.partial(_app, settings, started),
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
        workers=workers,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
    )
    return _serve_many(config, listener) if workers > 1 else _serve_one(config, listener, started)


async def _refuse_unusable(settings: Settings) -> None:
    """Raises ConfigError if a server answers that no waiting will make fit."""
    async with store.client(settings.redis_url) as redis, data_plane(settings.log_url) as plane:
        for check in (functools.partial(store.check, redis), plane.check):
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(REDIS_SECONDS):
                    await check()


def _serve_one(config: uvicorn.Config, listener: socket.socket, started: list[Context]) -> int:
    server = uvicorn.Server(config)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # Before anybody can know that we are here, or a signal that comes before uvicorn listens to it would
    # be lost. uvicorn also raises the signal that stopped it once more when it has stopped; without a
    # handler that would be an exit with an error.
    for number in _STOP_SIGNALS:
        signal.signal(number, stop)
    print(f"api on {url_of(listener)}", flush=True)
    server.run(sockets=[listener])
    return 0 if server.started and not any(context.is_broken for context in started) else 1


def _serve_many(config: uvicorn.Config, listener: socket.socket) -> int:
    supervisor = Multiprocess(config, sockets=[listener])
    print(f"api on {url_of(listener)}", flush=True)
    supervisor.run()
    return 0


def _app(settings: Settings, started: list[Context]) -> Any:
    def on_started(context: Context) -> None:
        started.append(context)
        _end_streams_on_signals(context)

    return create_app(settings, on_started=on_started)


def _end_streams_on_signals(context: Context) -> None:
    """uvicorn stops accepting on a signal but leaves open streams open, on purpose: end them ourselves,
    then let it go on. It has installed its handlers by now."""
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(context.drain)
            if callable(before):
                before(received, frame)

        signal.signal(number, handle)
