"""Other people's clients of chat completions, unchanged."""

from __future__ import annotations

import asyncio
import os
import sys
from subprocess import PIPE
from typing import Any

import orjson
from httpx_sse import aconnect_sse
from installation import Installation, Wire

ASKED: Any = [{"role": "user", "content": "Why is the sky blue?"}]

#: It would ask the web for prices.
OFFLINE = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

#: What somebody writes who has litellm; it prints what came as one line of JSON.
WITH_LITELLM = """
import json, sys, litellm
base, asked = sys.argv[1], json.loads(sys.argv[2])
at = {"api_base": base, "api_key": "none", "num_retries": 0, "messages": asked}
whole = litellm.completion(model="openai/quick", **at)
chunks = list(litellm.completion(model="openai/quick", stream=True, **at))
calls = litellm.stream_chunk_builder(list(litellm.completion(model="openai/parallel", stream=True, **at)))
try:
    litellm.completion(model="openai/nope", **at)
except litellm.NotFoundError as error:
    refusal = str(error)
print(json.dumps({
    "whole": whole.choices[0].message.content,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
    "calls": [call.function.name for call in calls.choices[0].message.tool_calls],
    "refusal": refusal,
}))
"""


async def test_litellm_itself_is_a_client(shared_installation: Installation) -> None:
    # When litellm is pointed at tokentail as at OpenAI
    base = f"{shared_installation.url}/v1"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WITH_LITELLM,
        base,
        orjson.dumps(ASKED).decode(),
        stdout=PIPE,
        stderr=PIPE,
        env=OFFLINE,
    )
    said, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    found = orjson.loads(said.splitlines()[-1])
    # Then answers, streams, tool calls and refusals come through
    assert len(found["streamed"].split()) == len(found["whole"].split()) == 40
    assert found["calls"] == ["weather", "clock"]
    assert "is not one of this server's models" in found["refusal"]


async def test_a_plain_reader_of_events_meets_no_empty_one(wire: Wire) -> None:
    # Given a reader that takes a line `retry:` or an ended comment for an event
    body = {"model": "quick", "messages": ASKED, "stream": True}
    async with aconnect_sse(wire.http, "POST", "/v1/chat/completions", json=body) as source:
        events = [event async for event in source.aiter_sse()]
    # Then each of its events has data, and the last is the end
    assert [event.data for event in events].index("[DONE]") == len(events) - 1
    assert all(orjson.loads(event.data)["choices"] for event in events[:-1])
    assert {event.id for event in events} == {""}


async def test_a_sign_of_life_is_no_event(install, client_of) -> None:
    # Given a model that says nothing for long, and an API that gives many signs of life
    installation = install(TOKENTAIL_PING_SECONDS="0.3")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    body = {"model": "gated", "messages": ASKED, "stream": True}
    raw = b""
    async with wire.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for data in answer.aiter_bytes():
            raw += data
            if raw.count(b": ping\n") == 3:
                await wire.open_gate("g")
    # Then no comment ends a block
    assert raw.count(b": ping\n") >= 3
    assert b": ping\n\n" not in raw
    assert raw.endswith(b"data: [DONE]\n\n")


async def test_logprobs_of_a_whole_answer_are_those_of_its_stream(wire: Wire) -> None:
    # Given one job, streamed
    body: dict[str, Any] = {"model": "quick", "messages": ASKED, "logprobs": True, "top_logprobs": 2}
    headers = {"Idempotency-Key": f"logprobs-{id(wire)}"}
    url = "/v1/chat/completions"
    told = (await wire.http.post(url, json=body | {"stream": True}, headers=headers)).text
    chunks = [orjson.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    streamed = [token for c in chunks for token in (c["choices"][0]["logprobs"] or {}).get("content") or ()]
    # When it is asked for as a whole; Then none is missing
    whole = (await wire.http.post(url, json=body, headers=headers)).json()["choices"][0]["logprobs"]
    assert whole["content"] == streamed
    assert len(streamed) == 40
