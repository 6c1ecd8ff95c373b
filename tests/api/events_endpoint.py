"""The events endpoint without a server, for what has to happen at one exact moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from sink import Sink

from tokentail.api.context import Context
from tokentail.api.follow import follow
from tokentail.api.headroom import Headroom
from tokentail.api.servers import Servers
from tokentail.api.tails import Tails
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


class EventsEndpoint:
    """One client's request for a job's events. `run` it as a task; `leave` is what a client does."""

    def __init__(self, job_id: str, context: Context, method: str) -> None:
        self._job_id = job_id
        self.context = context
        self.sent: list[dict[str, Any]] = []
        self._sink = Sink()
        self._scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "headers": [],
            "query_string": b"",
            "extensions": self._sink.extensions(),
        }

    @property
    def body(self) -> bytes:
        return self._sink.raw

    def leave(self) -> None:
        self._sink.lose()

    async def run(self) -> None:
        await follow(self._job_id, self.context, self._scope, self._receive, self._send)  # type: ignore[arg-type]

    async def _receive(self) -> dict[str, Any]:
        raise AssertionError("nothing is to be received")

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


Ask = Callable[..., EventsEndpoint]


@pytest.fixture
async def context(
    redis_url: str, redis: Redis, queue: Queue, logs: Logs, tails: Tails
) -> AsyncIterator[Context]:
    """One process."""
    settings, models = Settings(redis_url=redis_url), ModelList.load(ModelList.demo_path())
    async with OneServer(redis_url) as plane:
        servers = Servers(redis, plane, settings)
        yield Context(settings, models, redis, queue, logs, tails, servers, Headroom())


@pytest.fixture
def ask(context: Context) -> Ask:
    """Makes requests to it."""

    def make(job_id: str, method: str = "GET") -> EventsEndpoint:
        return EventsEndpoint(job_id, context, method)

    return make
