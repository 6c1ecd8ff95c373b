"""Providers that don't speak as OpenAI does, over real HTTP: what litellm's own readers make of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asking import Answer, ask, asked, sse, take, write_list

from tokentail.shared.errors import ModelError
from tokentail.worker.model import Models

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Scripted:
    """A server that answers every request with the same bytes, then ends the answer or holds it open."""

    url: str = ""
    body: bytes = b""
    holds: bool = False
    closed_by_client: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")
            )
            await reader.readexactly(length)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + self.body
            )
            await writer.drain()
            if self.holds:
                await reader.read()
                self.closed_by_client.set()
        finally:
            writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def scripted() -> AsyncIterator[Scripted]:
    server = Scripted()
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        server.url = f"http://{host}:{port}"
        yield server


def _models(folder: Path, model: str, base: str) -> Models:
    params = {"model": model, "api_base": base, "api_key": "a-key-of-this-test"}
    return Models(write_list(folder, [{"model_name": "it", "litellm_params": params}]), {})


def _events(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def _block(index: int, kind: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": kind},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "usage": {"input_tokens": 25, "output_tokens": 1},
    },
}
_TEXT = _block(1, {"type": "text", "text": ""}, *({"type": "text_delta", "text": t} for t in ("Hel", "lo")))
_THOUGHT = _block(
    0,
    {"type": "thinking", "thinking": ""},
    {"type": "thinking_delta", "thinking": "Hmm."},
    {"type": "signature_delta", "signature": "c2ln"},
)
_CALL = _block(
    2,
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    {"type": "input_json_delta", "partial_json": '{"city":'},
    {"type": "input_json_delta", "partial_json": '"Paris"}'},
)
_END: list[dict[str, Any]] = [
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
]


async def test_anthropics_answer_comes_out_as_everybody_elses(tmp_path: Path, scripted: Scripted) -> None:
    # Given an answer with a thought, a text and a tool call
    scripted.body = _events(_START, *_THOUGHT, *_TEXT, *_CALL, *_END)
    answer = await ask(_models(tmp_path, "anthropic/claude-sonnet-4-5", scripted.url))
    # Then each is where it belongs,
    assert answer.result["reasoning"] == "Hmm."
    assert answer.result["content"] == "Hello"
    assert answer.result["tool_calls"] == [
        {"id": "toolu_1", "name": "weather", "arguments": '{"city":"Paris"}'}
    ]
    # And both halves of its usage are counted and priced.
    assert answer.finish is not None
    assert answer.finish.finish_reason == "tool_calls"
    assert answer.finish.usage == {
        "prompt_tokens": 25,
        "completion_tokens": 15,
        "total_tokens": 40,
        "source": "provider",
    }
    assert answer.finish.cost_usd


async def test_anthropics_answer_that_breaks_off_is_no_success(tmp_path: Path, scripted: Scripted) -> None:
    scripted.body = _events(_START, *_TEXT)
    with pytest.raises(ModelError) as caught:
        await ask(_models(tmp_path, "anthropic/claude-sonnet-4-5", scripted.url))
    assert caught.value.code == "provider_truncated"


async def test_anthropics_error_in_the_stream_is_one(tmp_path: Path, scripted: Scripted) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    scripted.body = _events(_START, *_TEXT, error)
    with pytest.raises(ModelError) as caught:
        await ask(_models(tmp_path, "anthropic/claude-sonnet-4-5", scripted.url))
    assert (caught.value.code, caught.value.retryable) == ("provider_error", True)


def _openai_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "1",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


@pytest.mark.parametrize("provider", ["hosted_vllm", "mistral", "openrouter", "deepseek", "groq"])
async def test_providers_that_litellm_reads_by_lines_lose_nothing(
    tmp_path: Path, scripted: Scripted, provider: str
) -> None:
    # Given an answer that holds what litellm's line reader stumbles over
    texts = ["[DONE]", " a\u2028b", " c"]
    chunks = (json.dumps(_openai_chunk({"content": text}), ensure_ascii=False) for text in texts)
    scripted.body = sse(*chunks, _openai_chunk({}, "stop"), "[DONE]")
    answer = await ask(_models(tmp_path, f"{provider}/m", f"{scripted.url}/v1"))
    assert [delta.get("content") for delta in answer.deltas] == texts


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("openai/m", sse(_openai_chunk({"content": "Hello"}))),
        ("hosted_vllm/m", sse(_openai_chunk({"content": "Hello"}))),
        ("anthropic/claude-sonnet-4-5", _events(_START, *_TEXT)),
    ],
)
async def test_leaving_an_answer_closes_the_connection_whatever_the_provider(
    tmp_path: Path, scripted: Scripted, model: str, body: bytes
) -> None:
    # Given an answer that has begun and goes on for ever
    scripted.body, scripted.holds = body, True
    answer = Answer(_models(tmp_path, model, scripted.url).chat(asked("it"), job_id="job_1", attempt=1))
    # When it is left,
    await take(answer, deltas=1)
    # Then the server sees the connection close.
    async with asyncio.timeout(1):
        await scripted.closed_by_client.wait()
