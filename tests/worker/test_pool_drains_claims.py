"""A drain that begins while a claim or a bell is on its way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from signal import Signals
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from arq.connections import ArqRedis
from attempting import shop
from given import TENANT, enqueued, eventually

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.worker.pool import Pool


async def test_what_an_idle_worker_is_claiming_when_it_is_told_to_stop_is_handed_back(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an idle worker whose claim has brought a job, though the reply has not come yet
    async with shop(redis_url, ["Hi"]) as at, store.client(redis_url) as listening:
        claim, came = at.queue.claim, asyncio.Event()

        async def slow_claim(*question: Any, **more: Any) -> Any:
            answer = await claim(*question, **more)
            if answer.jobs:
                await came.wait()
            return answer

        monkeypatch.setattr(at.queue, "claim", slow_claim)
        pool = Pool(
            redis=ArqRedis(store.pool(redis_url), job_serializer=orjson.dumps, job_deserializer=orjson.loads),
            listening=listening,
            queue=at.queue,
            new_attempt=at.attempt,
            helpers=[],
            settings=at.settings,
            on_ready=lambda _: None,
        )
        working = asyncio.create_task(pool.async_run())
        record = await enqueued(at.queue)
        await eventually(lambda: at.redis.zcard(keys.LEASES))
        # When it is told to stop, and the reply comes as late as it can
        pool.handle_sig(Signals.SIGTERM)
        await eventually(lambda: at.redis.llen(keys.BELL))
        for _ in range(10):
            await at.redis.ping()
        came.set()
        await asyncio.wait([working])
        await pool.close()
        # Then the job is back in the queue, and no crash was counted
        found = await at.queue.get(TENANT, record.id)
        assert (found.status, found.handoffs, found.crashes) == ("queued", 1, 0)


@asynccontextmanager
async def line_that_never_hangs_up(url: str) -> AsyncIterator[str]:
    """A line to Redis on which Redis does not notice that the client has gone."""
    parts = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()
    ends: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not writer.is_closing():
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        ends.extend((writer, far_writer))
        for way in ((reader, far_writer), (far_reader, writer)):
            tasks.add(asyncio.create_task(pass_on(*way)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()


async def test_a_bell_is_left_to_others_also_if_redis_thinks_that_the_worker_still_listens(
    redis_url: str,
) -> None:
    async with (
        shop(redis_url, ["Hi"]) as at,
        line_that_never_hangs_up(redis_url) as line,
        store.client(line) as listening,
    ):
        # Given an idle worker that waits for the bell
        ready: list[str] = []
        pool = Pool(
            redis=ArqRedis(store.pool(redis_url), job_serializer=orjson.dumps, job_deserializer=orjson.loads),
            listening=listening,
            queue=at.queue,
            new_attempt=at.attempt,
            helpers=[],
            settings=at.settings,
            on_ready=ready.append,
        )
        working = asyncio.create_task(pool.async_run())

        async def listens() -> int:
            return (await at.redis.info("clients"))["blocked_clients"]

        await eventually(lambda: ready)
        await eventually(listens)
        # When it is told to stop, and the first bell is still given to it
        pool.handle_sig(Signals.SIGTERM)
        await asyncio.wait([working])
        await pool.close()
        # Then there is another one
        assert await at.redis.llen(keys.BELL) == 1
