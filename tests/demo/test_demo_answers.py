"""What each scenario of the demo provider says."""

from __future__ import annotations

import re
import time

import httpx
import pytest
from demo_client import Provider, data_lines, deltas, reasons, text

USAGE = {"stream_options": {"include_usage": True}}


async def test_the_demo_answer_quotes_what_the_user_wrote(provider: Provider) -> None:
    # Given the readable answer, without its pauses
    # When a user asks something
    answer = text(await provider.chunks("fast"))
    # Then it is quoted, in markdown
    assert "> Why is the sky blue?" in answer
    assert "**demo provider**" in answer


async def test_the_demo_answer_comes_at_a_readers_pace(provider: Provider) -> None:
    async with provider.streaming("demo") as response:
        # Given an answer that has begun
        lines = (line async for line in response.aiter_lines() if '"content"' in line and "role" not in line)
        await anext(lines)
        # When ten more tokens have been read
        began = time.monotonic()
        for _ in range(10):
            await anext(lines)
    # Then that took about as long as a person takes
    assert 0.2 < time.monotonic() - began < 1


async def test_counted_tokens_follow_a_nonce_without_a_gap(provider: Provider) -> None:
    # When 2,000 numbered tokens are asked for
    chunks = await provider.chunks("counted?tokens=2000")
    # Then there are as many, each in a chunk of its own
    said = [delta["content"] for delta in deltas(chunks)]
    assert re.fullmatch(r"\[[0-9a-f]{12}\] ", said[0])
    assert said[1:] == [f"{number} " for number in range(1999)]
    assert reasons(chunks) == ["stop"]


async def test_no_two_requests_share_a_nonce(provider: Provider) -> None:
    # When the same request is made twice
    first, second = [text(await provider.chunks("counted?tokens=1")) for _ in range(2)]
    # Then the answers differ
    assert first != second


async def test_the_first_token_can_be_slow_while_the_head_is_not(provider: Provider) -> None:
    # Given a provider that thinks for 500 ms
    began = time.monotonic()
    async with provider.streaming("slow-first-token?first_ms=500&tokens=1") as response:
        head = time.monotonic() - began
        # When its answer is read
        await response.aread()
    # Then the head came at once, the token later
    assert head < 0.4
    assert time.monotonic() - began >= 0.5


async def test_the_head_can_be_as_slow_as_the_first_token(provider: Provider) -> None:
    # Given a provider that sends nothing at all before its first token
    began = time.monotonic()
    # When it thinks for 200 ms
    async with provider.streaming("slow-first-token?first_ms=200&tokens=1&head=0"):
        # Then even the status takes as long
        assert time.monotonic() - began >= 0.2


async def test_a_paced_answer_takes_its_whole_time_and_no_longer(provider: Provider) -> None:
    # When 1,000 tokens are asked for, closer together than any timer ticks
    began = time.monotonic()
    await provider.chunks("counted?tokens=1000&pace_ms=0.25")
    # Then pauses that came out too long have been made good
    assert 0.24 < time.monotonic() - began < 0.9


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_comes_before_the_answer(provider: Provider, field: str) -> None:
    # When the model reasons
    said = deltas(await provider.chunks(f"reasoning?field={field}"))
    # Then its thoughts stand in their own member, and the answer follows
    thoughts = [delta for delta in said if field in delta]
    assert said[: len(thoughts)] == thoughts
    assert all(list(delta) == ["content"] for delta in said[len(thoughts) :])


async def test_a_refusal_is_no_content(provider: Provider) -> None:
    # When the model declines
    said = deltas(await provider.chunks("refusal"))
    # Then it says so in the member for it
    assert "".join(delta["refusal"] for delta in said).startswith("I'm sorry")


async def test_usage_comes_last_and_only_when_asked_for(provider: Provider) -> None:
    # When usage is asked for, or not
    asked = await provider.chunks("counted?tokens=5", **USAGE)
    silent = await provider.chunks("counted?tokens=5")
    # Then it is the last chunk, without choices, or there is none
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] == 5
    assert all("usage" not in chunk for chunk in silent)


async def test_usage_can_come_with_an_empty_choice(provider: Provider) -> None:
    chunks = await provider.chunks("usage-one-choice?tokens=5", **USAGE)
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
    assert chunks[-1]["usage"]["completion_tokens"] == 5


async def test_usage_can_be_withheld(provider: Provider) -> None:
    chunks = await provider.chunks("no-usage?tokens=5", **USAGE)
    assert not any(chunk["usage"] for chunk in chunks)


async def test_logprobs_come_with_each_token_when_asked_for(provider: Provider) -> None:
    # When logprobs are asked for, with two alternatives
    chunks = await provider.chunks("counted?tokens=3", logprobs=True, top_logprobs=2)
    # Then each token has its own, and is its own likeliest alternative
    odds = [choice["logprobs"]["content"] for chunk in chunks if (choice := chunk["choices"][0])["logprobs"]]
    assert [token["token"] for (token,) in odds] == [delta["content"] for delta in deltas(chunks)]
    assert all(len(token["top_logprobs"]) == 2 for (token,) in odds)
    assert all(token["top_logprobs"][0]["token"] == token["token"] for (token,) in odds)


@pytest.mark.parametrize(("model", "reason"), [("length", "length"), ("content-filter", "content_filter")])
async def test_an_answer_can_stop_for_another_reason(provider: Provider, model: str, reason: str) -> None:
    assert reasons(await provider.chunks(model)) == [reason]


async def test_a_token_limit_is_kept(provider: Provider) -> None:
    # When the request allows two tokens
    chunks = await provider.chunks("counted?tokens=5", max_tokens=2)
    # Then there are two, and the reason says why
    assert len(deltas(chunks)) == 2
    assert reasons(chunks) == ["length"]


async def test_an_answer_can_repeat_itself_hundreds_of_times(provider: Provider) -> None:
    said = deltas(await provider.chunks("repeat"))
    assert said == [{"content": "- "}] * 300


async def test_a_long_answer_is_whole(provider: Provider) -> None:
    chunks = await provider.chunks("long")
    assert text(chunks).endswith("19997 19998 ")


async def test_an_answer_can_be_had_in_one_piece(provider: Provider) -> None:
    # When a client does not stream
    answer = await provider.whole("counted?tokens=3", logprobs=True)
    # Then it gets one message with usage and logprobs
    (choice,) = answer["choices"]
    assert choice["message"]["content"].endswith("] 0 1 ")
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["content"]) == 3
    assert answer["usage"]["completion_tokens"] == 3


async def test_a_gate_holds_the_rest_of_an_answer_back(provider: Provider) -> None:
    async with provider.streaming("wait?tokens=5&after=2&gate=mine") as response:
        lines = (line async for line in response.aiter_lines() if '"content"' in line and "role" not in line)
        # Given an answer whose first two tokens have been read
        assert [await anext(lines) for _ in range(2)]
        assert (await provider.stats())["requests"][0]["tokens"] == 2
        # When the gate is opened
        await provider.http.post("/gates/mine")
        # Then the rest arrives
        assert len([line async for line in lines]) == 3


async def test_a_gate_that_was_opened_before_holds_nothing_back(provider: Provider) -> None:
    await provider.http.post("/gates/mine")
    assert len(deltas(await provider.chunks("wait?tokens=5&gate=mine"))) == 5


async def test_the_scenarios_are_listed_as_models(provider: Provider) -> None:
    models = (await provider.http.get("/v1/models")).json()["data"]
    assert {"demo", "counted", "hang"} <= {model["id"] for model in models}


async def test_the_stream_is_an_event_stream(provider: Provider) -> None:
    response: httpx.Response = await provider.post("fast")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert data_lines(response.text)[-1] == "[DONE]"
