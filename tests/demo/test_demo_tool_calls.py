"""How the demo provider calls tools, in the manner of each kind of server."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from demo_client import Provider, deltas, reasons

PARALLEL = [
    "parallel-tool-calls",
    "interleaved-tool-calls",
    "whole-tool-calls",
    "same-index-tool-calls",
    "no-index-tool-calls",
    "no-id-tool-calls",
    "repeated-name-tool-calls",
]


async def parts(provider: Provider, model: str) -> list[dict[str, Any]]:
    chunks = await provider.chunks(model)
    assert reasons(chunks) == ["tool_calls"]
    return [part for delta in deltas(chunks) for part in delta["tool_calls"]]


async def test_openai_sends_id_and_name_first_and_then_nameless_pieces(provider: Provider) -> None:
    opening, *pieces = await parts(provider, "tool-call")
    assert opening["function"] == {"name": "weather", "arguments": ""}
    assert opening["id"].endswith("_0")
    assert {part["id"] for part in pieces} == {None}
    arguments = "".join(part["function"]["arguments"] for part in pieces)
    assert orjson.loads(arguments) == {"city": "Paris", "unit": "celsius"}


async def test_parallel_calls_can_take_turns(provider: Provider) -> None:
    indexes = [part["index"] for part in await parts(provider, "interleaved-tool-calls")]
    assert indexes[:6] == [0, 1, 0, 1, 0, 1]


async def test_whole_calls_can_come_in_one_chunk(provider: Provider) -> None:
    (delta,) = deltas(await provider.chunks("whole-tool-calls"))
    assert [call["index"] for call in delta["tool_calls"]] == [0, 1]


async def test_calls_can_all_have_the_same_index(provider: Provider) -> None:
    calls = await parts(provider, "same-index-tool-calls")
    assert [call["index"] for call in calls] == [0, 0]
    assert len({call["id"] for call in calls}) == 2


async def test_calls_can_come_without_an_index(provider: Provider) -> None:
    assert not any("index" in call for call in await parts(provider, "no-index-tool-calls"))


async def test_calls_can_come_without_an_id(provider: Provider) -> None:
    assert not any("id" in call for call in await parts(provider, "no-id-tool-calls"))


async def test_a_name_can_come_again_with_every_piece(provider: Provider) -> None:
    names = [part["function"]["name"] for part in await parts(provider, "repeated-name-tool-calls")]
    assert names == ["weather"] * 4 + ["clock"] * 3


@pytest.mark.parametrize("model", PARALLEL)
async def test_every_manner_comes_to_the_same_two_calls(provider: Provider, model: str) -> None:
    # When the answer is asked for in one piece
    message = (await provider.whole(model))["choices"][0]["message"]
    # Then it has both calls, whole
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather", "clock"]
    arguments = [orjson.loads(call["function"]["arguments"]) for call in message["tool_calls"]]
    assert arguments == [{"city": "Paris", "unit": "celsius"}, {"zone": "Europe/Paris"}]
