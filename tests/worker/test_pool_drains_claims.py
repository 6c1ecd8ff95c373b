"""A drain that begins while a claim is on its way."""

from __future__ import annotations

import asyncio
from signal import Signals
from typing import Any

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
