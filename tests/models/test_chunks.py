"""One chunk of any shape → one delta."""

from __future__ import annotations

from typing import Any

import pytest

from tokentail.worker.model.chunks import ChunkReader, as_openai
from tokentail.worker.model.door import litellm
from tokentail.worker.model.sse import BrokenStream


def _chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, **more}]}


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": []},
        {"choices": [], "prompt_filter_results": []},
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": None, "tool_calls": None, "refusal": None}),
        _chunk({"tool_calls": []}, "stop"),
        _chunk({}, logprobs={"content": []}),
        {"choices": [{"delta": None}]},
    ],
)
def test_a_chunk_that_carries_nothing_is_no_delta(chunk: dict[str, Any]) -> None:
    assert ChunkReader().read(chunk) is None


def test_a_chunk_may_carry_several_things_at_once() -> None:
    said = {"content": "a", "reasoning_content": "b", "refusal": "c"}
    delta = ChunkReader().read(_chunk(said, "stop", logprobs={"content": [1]}))
    assert delta == {
        "type": "delta",
        "content": "a",
        "reasoning": "b",
        "refusal": "c",
        "logprobs": {"content": [1]},
    }


def test_content_in_parts_is_their_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}]
    assert ChunkReader().read(_chunk({"content": parts})) == {"type": "delta", "content": "ab"}


def test_the_old_function_call_is_a_tool_call() -> None:
    reader = ChunkReader()
    first = reader.read(_chunk({"function_call": {"name": "f", "arguments": ""}}))
    second = reader.read(_chunk({"function_call": {"arguments": "{}"}}, "function_call"))
    assert first is not None
    assert second is not None
    assert first["tool_calls"][0]["name"] == "f"
    assert second["tool_calls"] == [{"index": 0, "arguments": "{}"}]
    assert reader.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("function_call", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
    ],
)
def test_every_providers_word_for_the_end_is_one_of_four(given: str, meant: str) -> None:
    reader = ChunkReader()
    assert not reader.is_finished
    reader.read(_chunk({}, given))
    assert reader.is_finished
    assert reader.finish_reason == meant


def test_stop_after_tool_calls_means_tool_calls() -> None:
    reader = ChunkReader()
    reader.read(_chunk({"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}]}))
    reader.read(_chunk({}, "stop"))
    assert reader.finish_reason == "tool_calls"


def test_an_answer_cut_at_its_limit_is_that_even_with_tool_calls() -> None:
    reader = ChunkReader()
    reader.read(_chunk({"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{"}}]}, "length"))
    assert reader.finish_reason == "length"


def test_an_error_as_finish_reason_is_an_error() -> None:
    with pytest.raises(BrokenStream):
        ChunkReader().read(_chunk({"content": "half"}, "error"))


def test_litellms_objects_are_read_like_the_providers_json() -> None:
    # Given what litellm makes of a provider with a format of its own
    raw = litellm.ModelResponseStream(
        choices=[
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "delta": {
                    "content": "a",
                    "reasoning_content": "b",
                    "tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}],
                },
            }
        ],
        usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    )
    reader = ChunkReader()
    known = as_openai(raw)
    assert known is not None
    assert reader.read(known) == {
        "type": "delta",
        "content": "a",
        "reasoning": "b",
        "tool_calls": [{"index": 0, "id": "x", "name": "f", "arguments": "{}"}],
    }
    assert reader.finish_reason == "tool_calls"
    assert len(reader.usages) == 1


def test_litellms_generic_chunks_are_read_too() -> None:
    generic = {
        "text": "a",
        "is_finished": False,
        "finish_reason": "",
        "usage": None,
        "index": 0,
        "tool_use": None,
    }
    tool = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
    reader = ChunkReader()
    assert reader.read(as_openai(generic) or {}) == {"type": "delta", "content": "a"}
    assert not reader.is_finished
    last = reader.read(
        as_openai(generic | {"text": "", "tool_use": tool, "is_finished": True, "finish_reason": "stop"})
        or {}
    )
    assert last is not None
    assert last["tool_calls"] == [{"index": 0, "id": "x", "name": "f", "arguments": "{}"}]
    assert reader.finish_reason == "tool_calls"


@pytest.mark.parametrize("raw", ["text", b"bytes", {"output": "a"}, None])
def test_a_chunk_of_an_unknown_kind_is_not_guessed_at(raw: Any) -> None:
    assert as_openai(raw) is None
