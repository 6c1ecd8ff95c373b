"""The events endpoint without a server, for what has to happen at one exact moment."""

from __future__ import annotations

from typing import Any

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

    def __init__(
        self,
        job_id: str,
        *,
        redis: Redis,
        plane: OneServer,
        queue: Queue,
        logs: Logs,
        tails: Tails,
        method: str = "GET",
    ) -> None:
        models = ModelList.load(ModelList.demo_path())
        servers = Servers(redis, plane, Settings())
        context = Context(Settings(), models, redis, queue, logs, tails, servers, Headroom())
        self.context = context
        self._job_id = job_id
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
