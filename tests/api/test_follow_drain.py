"""A follower that comes as its process is told to stop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from following import tails_at
from given import enqueued
from redis.asyncio import Redis

from tokentail.api.context import Context
from tokentail.api.follow import Follow
from tokentail.api.headroom import Headroom
from tokentail.api.servers import Servers
from tokentail.shared.job import Record
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


async def test_a_follower_whose_record_came_after_the_signal_is_let_go(
    queue: Queue, logs: Logs, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that waits, and a process that is told to stop while it asks for the job's record
    job_id = (await enqueued(queue)).id
    async with tails_at(redis_url) as tails:
        models = ModelList.load(ModelList.demo_path())
        plane = OneServer(redis_url)
        settings, headroom = Settings(redis_url=redis_url), Headroom()
        servers = Servers(redis, plane, settings)
        context = Context(settings, models, redis, plane, queue, logs, tails, servers, headroom)
        get = queue.get

        async def get_as_the_signal_comes(tenant: str, wanted: str) -> Record:
            record = await get(tenant, wanted)
            context.drain()
            return record

        monkeypatch.setattr(queue, "get", get_as_the_signal_comes)
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "headers": [],
            "query_string": b"",
            "path_params": {"job_id": job_id},
            "app": SimpleNamespace(state=SimpleNamespace(context=context)),
        }
        # When somebody follows the job
        async with asyncio.timeout(20):
            await Follow()(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    # Then the stream opens and ends cleanly, for the client to go on elsewhere
    assert [message["type"] for message in sent] == ["http.response.start", *["http.response.body"] * 2]
    assert not sent[-1].get("more_body", False)
