"""From a provider's bytes to its chunks: nothing is lost, whatever the network and the model do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asking import sse
from hypothesis import given
from hypothesis import strategies as st

from tokentail.worker.model.sse import BrokenStream, json_chunks


async def _blocks(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def _read(*blocks: bytes) -> list[dict[str, Any]]:
    return [chunk async for chunk in json_chunks(_blocks(*blocks))]


@given(data=st.data(), texts=st.lists(st.text(max_size=20), max_size=5))
async def test_chunks_come_out_whole_wherever_the_network_cuts_them(
    data: st.DataObject, texts: list[str]
) -> None:
    # Given texts with any character that JSON lets stand in a string, line separators among them
    chunks = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    raw = sse(*chunks, "[DONE]")
    at = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    blocks = [raw[a:b] for a, b in zip([0, *at], [*at, len(raw)], strict=True)]
    assert await _read(*blocks) == [{"text": text} for text in texts]


async def test_an_answer_may_speak_of_its_own_end() -> None:
    assert await _read(sse({"text": "write [DONE] last"}, {"text": "."}, "[DONE]")) == [
        {"text": "write [DONE] last"},
        {"text": "."},
    ]


async def test_comments_and_other_fields_are_passed_over() -> None:
    raw = b': ping\n\nevent: message\nid: 4\nretry: 10\r\ndata:{"a":1}\r\n\r\ndata: \n\n'
    assert await _read(raw) == [{"a": 1}]


async def test_json_lines_are_read_like_events() -> None:
    assert await _read(b'{"a":1}\n{"a":2}\n') == [{"a": 1}, {"a": 2}]


async def test_the_last_line_needs_no_newline() -> None:
    assert await _read(b'data: {"a":1}') == [{"a": 1}]


async def test_a_torn_last_line_is_no_chunk() -> None:
    assert await _read(b'data: {"a":1}\n\ndata: {"a":') == [{"a": 1}]


async def test_nothing_is_read_after_the_end() -> None:
    assert await _read(sse("[DONE]", {"a": 1})) == []


@pytest.mark.parametrize("data", ['{"a":', "<html>", "17", "[]"])
async def test_what_is_no_json_object_is_an_error(data: str) -> None:
    with pytest.raises(BrokenStream):
        await _read(sse(data))


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        ({"message": "Slow down", "code": 429}, "Slow down", 429),
        ({"message": "Slow down", "code": "rate_limit_exceeded"}, "Slow down", 429),
        ({"message": "No", "type": "invalid_request_error"}, "No", 400),
        ({"message": "Oh", "type": "server_error", "code": None}, "Oh", 500),
        ("boom", "boom", 500),
        ({"code": 3}, "The provider reported an error without a message.", 500),
    ],
)
async def test_an_error_inside_the_stream_is_an_error(error: Any, message: str, status: int) -> None:
    with pytest.raises(BrokenStream, match=message) as caught:
        await _read(sse({"error": error}))
    assert caught.value.status == status


async def test_an_error_member_without_an_error_is_none() -> None:
    assert await _read(sse({"a": 1, "error": {}}, {"a": 2, "error": None})) == [
        {"a": 1, "error": {}},
        {"a": 2, "error": None},
    ]
