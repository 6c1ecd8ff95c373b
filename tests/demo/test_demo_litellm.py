"""The demo provider as litellm sees it. What litellm makes of each manner is for the worker's tests."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import orjson
import pytest
from demo_client import Provider

# In a process of its own: importing litellm takes two seconds, changes logging and warns.
READER = """
import asyncio, json, sys
import litellm

async def read(url, model):
    message = {"role": "user", "content": "hello"}
    stream = await litellm.acompletion(
        model="openai/" + model, api_base=url + "/v1", api_key="x", messages=[message], stream=True,
        stream_options={"include_usage": True}, max_retries=0, num_retries=0,
    )
    chunks = [chunk async for chunk in stream]
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    return {"said": said, "finish": stream.received_finish_reason,
            "usage": getattr(chunks[-1], "usage").completion_tokens}

async def main():
    return [await read(sys.argv[1], model) for model in sys.argv[2:]]

print(json.dumps(asyncio.run(main())))
"""
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_MODE": "PRODUCTION",
}


@pytest.fixture
def answers(provider: Provider) -> list[dict[str, Any]]:
    models = ["counted?tokens=50", "truncated?after=3"]
    command = [sys.executable, "-c", READER, provider.url, *models]
    output = subprocess.run(command, env=os.environ | QUIET, capture_output=True, check=True, timeout=60)
    return orjson.loads(output.stdout.splitlines()[-1])


async def test_litellm_reads_scenarios_over_http(provider: Provider, answers: list[dict[str, Any]]) -> None:
    # When litellm asks for 50 tokens, and for three of an answer that breaks off
    whole, truncated = answers
    # Then it finds each token, the reason and the provider's own count
    nonces = [f"[{request['id']}] " for request in (await provider.stats())["requests"]]
    assert whole["said"] == [nonces[0], *(f"{number} " for number in range(49))]
    assert (whole["finish"], whole["usage"]) == ("stop", 50)
    # And it can tell, if it is asked the right way, that the other one had no end
    assert truncated["said"] == [nonces[1], "0 ", "1 "]
    assert truncated["finish"] is None
