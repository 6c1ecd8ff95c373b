"""Chat completions without a server, for what has to happen at one exact moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from given import RESULT, attempt, chat, claimed, completed, delta, eventually, written
from redis.asyncio import Redis
from sink import Sink

from tokentail.api.context import TENANT, Context
from tokentail.api.dialects import openai_chat, openai_models
from tokentail.api.metrics import Counts
from tokentail.shared import keys
from tokentail.shared.cursor import Cursor

ASKED = orjson.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}]})


class Asked:
    """One client's request. `run` it as a task."""

    def __init__(self, context: Context, method: str, path: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.sink = Sink()
        state = SimpleNamespace(context=context, counts=Counts())
        self._scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [],
            "query_string": b"",
            "app": SimpleNamespace(state=state),
            "extensions": self.sink.extensions(),
        }
        self._body = [{"type": "http.request", "body": ASKED, "more_body": False}]

    async def run(self) -> None:
        async with asyncio.timeout(20):
            await openai_chat.serve(self._scope, self._receive, self._send)

    async def _receive(self) -> Any:
        if not self._body:
            await asyncio.Event().wait()
        return self._body.pop()

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


async def test_an_answer_that_is_there_as_its_process_stops_is_given(context: Context, redis: Redis) -> None:
    # Given somebody who waits for a whole completion, and a process that begins to stop
    asked = Asked(context, "POST", "/v1/chat/completions")
    asking = asyncio.create_task(asked.run())
    await eventually(lambda: any(tail.followers for tail in context.tails.all()))
    claim = await claimed(context.queue)
    context.draining = True
    # When the job ends before the streams do
    await written(redis, claim.job_id, claim.fence, attempt(), delta("Hi"))
    await context.queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 2), completed(), RESULT)
    await written(redis, claim.job_id, claim.fence, completed(), seq=2)
    await asking
    # Then it is answered
    assert asked.sent[0]["status"] == 200
    assert orjson.loads(asked.sent[1]["body"])["choices"][0]["message"]["content"] == "Hi"


async def test_an_ending_that_is_held_but_was_lost_is_not_told(context: Context, redis: Redis) -> None:
    # Given a log whose ending is held here, and that Redis has lost; a new attempt is under way
    record, _ = await context.queue.enqueue(TENANT, chat(), None)
    claim = await claimed(context.queue)
    await written(redis, record.id, claim.fence, attempt(), delta("a"), completed())
    path = f"/v1/chat/completions/{record.id}/stream"
    first = Asked(context, "GET", path)
    await first.run()
    assert b"[DONE]" in first.sink.raw
    await redis.xdel(keys.log(record.id), f"{claim.fence}-2")
    # When somebody follows it
    second = Asked(context, "GET", path)
    following = asyncio.create_task(second.run())
    await eventually(lambda: b'"content":"a"' in second.sink.raw)
    # Then it is not told that ending
    assert b"[DONE]" not in second.sink.raw
    await written(redis, record.id, claim.fence, delta("b"), completed(), seq=3)
    await following
    assert b'"content":"b"' in second.sink.raw


async def test_who_leaves_in_the_middle_of_its_request_is_no_mistake_of_ours(context: Context) -> None:
    asked = Asked(context, "POST", "/v1/chat/completions")
    asked._body = [{"type": "http.disconnect"}]
    await asked.run()
    assert asked.sent == []


async def test_a_stream_that_is_refused_is_counted(context: Context) -> None:
    record, _ = await context.queue.enqueue(TENANT, chat(), None)
    for _ in range(context.settings.max_job_streams):
        context.streams.enter(TENANT, record.id)
    asked = Asked(context, "GET", f"/v1/chat/completions/{record.id}/stream")
    await asked.run()
    assert asked.sent[0]["status"] == 429
    assert context.streams.refused == {"too_many_job_streams": 1}


async def test_a_job_that_ended_without_log_and_result_is_told_by_its_ending(context: Context) -> None:
    # Given a job that was cancelled in the queue by a process that died before it told the log
    key = "key"
    record, _ = await context.queue.enqueue(TENANT, chat(), key)
    await context.queue.cancel(TENANT, record.id)
    # When its request is repeated
    asked = Asked(context, "POST", "/v1/chat/completions")
    asked._scope["headers"] = [(b"idempotency-key", key.encode())]
    body = orjson.dumps({**orjson.loads(ASKED), "stream": True})
    asked._body = [{"type": "http.request", "body": body, "more_body": False}]
    await asked.run()
    # Then that is what it is told
    assert asked.sent[0]["status"] == 200
    assert b'"code":"cancelled"' in asked.sent[1]["body"]


@pytest.mark.parametrize("path", ["vendor/model", "vendor%2Fmodel"])
async def test_an_alias_with_a_slash_is_found(path: str) -> None:
    app = FastAPI()
    app.include_router(openai_models.router)
    app.state.context = SimpleNamespace(models=["vendor/model"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        assert (await client.get(f"/v1/models/{path}")).json()["id"] == "vendor/model"
