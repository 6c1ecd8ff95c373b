"""What becomes of an answer that is owed while Redis is away, and what is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from edge_within import edge_at
from given import RESULT, attempt, completed, delta, eventually, written
from redis.asyncio import Redis

from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

ASKED = {"model": "demo", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


async def test_an_answer_is_waited_for_while_redis_is_away(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edge_at(Settings(redis_url=redis_url)) as (http, app):
        queue: Queue = app.state.context.queue
        redis: Redis = app.state.context.redis
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=ASKED))

        async def is_claimed() -> Any:
            return (await queue.claim("worker-1", 1)).jobs

        (claim,) = await eventually(is_claimed)
        # Given a Redis that does not say what has become of a job as it ends
        get, refusals = queue.get, iter(range(3))

        async def away_at_first(*which: Any) -> Any:
            if next(refusals, None) is not None:
                raise StoreUnavailable("Redis is away.")
            return await get(*which)

        monkeypatch.setattr(queue, "get", away_at_first)
        log = [attempt(), delta("a"), completed()]
        entries = await written(redis, claim.job_id, claim.fence, *log)
        await queue.finish(claim.job_id, claim.fence, entries[-1].cursor, completed(), RESULT)
        # Then the answer comes all the same
        async with asyncio.timeout(20):
            answer = await asking
        assert next(refusals, None) is None
        assert (answer.status_code, answer.headers["x-tokentail-job"]) == (200, claim.job_id)
        assert answer.json()["choices"][0]["message"]["content"] == RESULT["content"]


async def test_refusals_are_counted_as_those_of_the_native_protocol(redis_url: str) -> None:
    async with edge_at(Settings(redis_url=redis_url)) as (http, app):
        # When a submission and a stream are refused
        await http.post("/v1/chat/completions", json=ASKED | {"model": "nope"})
        app.state.context.draining = True
        await http.get("/v1/chat/completions/job_x/stream")
        # Then the metrics tell
        text = (await http.get("/metrics")).text
    refused = [line for line in text.splitlines() if "refused_total{" in line]
    assert len(refused) == 2
    assert any("submissions" in line and 'code="unknown_model"' in line for line in refused)
    assert any("streams" in line and 'code="unavailable"' in line for line in refused)
