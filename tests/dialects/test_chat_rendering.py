"""A log as OpenAI's chunks, checked by hand against its API reference ("Chat Completions: streaming")."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from given import attempt, completed, delta, failed
from hypothesis import given
from hypothesis import strategies as st

from tokentail.api.dialects.chat_completions import ChatCompletions
from tokentail.shared import events

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "source": "provider"}
HEAD = {"id": "chatcmpl-job_1", "object": "chat.completion.chunk", "created": 1763881234, "model": "demo"}


def rendered(*log: Any, include_usage: bool = False) -> list[tuple[bytes, bool]]:
    """What each entry looks like."""
    frames = ChatCompletions("job_1", "demo", 1763881234, include_usage).rendering()
    return [tuple(frames(b"5-%d" % seq, events.encode(event))) for seq, event in enumerate(log)]


def data(frames: bytes) -> list[Any]:
    """The messages in some frames."""
    blocks = frames.split(b"\n\n")
    assert blocks.pop() == b""
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    return [block[6:].decode() if block == b"data: [DONE]" else orjson.loads(block[6:]) for block in blocks]


def told(*log: Any, include_usage: bool = False) -> list[Any]:
    return data(b"".join(frames for frames, _ in rendered(*log, include_usage=include_usage)))


def chunk(seq: int, said: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}
    return {**HEAD, "choices": [choice], **more, "cursor": f"5-{seq}"}


def test_text_is_chunks_of_which_the_first_says_who_speaks() -> None:
    assert told(attempt(), delta("Hel"), delta("lo"), completed()) == [
        chunk(1, {"role": "assistant", "content": "Hel"}),
        chunk(2, {"content": "lo"}),
        chunk(3, {}, "stop"),
        "[DONE]",
    ]


def test_an_answer_without_a_word_is_one_chunk() -> None:
    assert told(attempt(), completed()) == [chunk(1, {"role": "assistant"}, "stop"), "[DONE]"]


def test_usage_comes_in_a_chunk_of_its_own_if_asked_for() -> None:
    log = attempt(), delta("a"), {**completed(), "usage": USAGE}
    used = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert told(*log, include_usage=True) == [
        chunk(1, {"role": "assistant", "content": "a"}, usage=None),
        chunk(2, {}, "stop", usage=None),
        {**HEAD, "choices": [], "usage": used, "cursor": "5-2"},
        "[DONE]",
    ]
    assert all("usage" not in message for message in told(*log) if message != "[DONE]")


def test_reasoning_and_refusals_have_members_of_their_own() -> None:
    log = {"type": "delta", "reasoning": "hm"}, {"type": "delta", "refusal": "no"}
    assert told(attempt(), *log)[0]["choices"][0]["delta"] == {"role": "assistant", "reasoning_content": "hm"}
    assert told(attempt(), *log)[1]["choices"][0]["delta"] == {"refusal": "no"}


def test_a_tool_call_names_its_function_once_and_then_brings_pieces() -> None:
    log = (
        {"type": "delta", "tool_calls": [{"index": 0, "id": "call_1", "name": "weather"}]},
        {"type": "delta", "tool_calls": [{"index": 0, "arguments": '{"city":'}]},
    )
    first, second = (message["choices"][0]["delta"]["tool_calls"] for message in told(attempt(), *log))
    function = {"name": "weather", "arguments": ""}
    assert first == [{"index": 0, "id": "call_1", "type": "function", "function": function}]
    assert second == [{"index": 0, "function": {"arguments": '{"city":'}}]


def test_logprobs_stand_beside_their_delta() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]}
    (message,) = told(attempt(), {**delta("a"), "logprobs": logprobs})
    assert message["choices"][0]["logprobs"] == logprobs


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (failed(), "provider_error"),
        ({"type": "cancelled", "reason": "requested", "usage": None}, "cancelled"),
    ],
)
def test_a_bad_end_is_an_error_and_no_done(ending: dict[str, Any], code: str) -> None:
    error = told(attempt(), delta("a"), ending)[-1]["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}


def test_an_attempt_after_one_that_said_nothing_goes_unnoticed() -> None:
    log = attempt(), attempt(2, "retry"), delta("a"), completed()
    assert [message if message == "[DONE]" else "chunk" for message in told(*log)] == [
        "chunk",
        "chunk",
        "[DONE]",
    ]
    assert not any(is_last for _, is_last in rendered(*log))


def test_an_attempt_that_voids_what_was_said_is_an_error_that_names_the_way_on() -> None:
    frames = rendered(attempt(), delta("a"), attempt(2, "lost"), delta("b"), completed())
    assert [is_last for _, is_last in frames] == [False, False, True, False, False]
    (message,) = data(frames[2][0])
    assert message["error"]["code"] == "generation_restarted"
    assert "/v1/chat/completions/job_1/stream" in message["error"]["message"]
    # And the new attempt stands for itself
    (message,) = data(frames[3][0])
    assert message["choices"][0]["delta"] == {"role": "assistant", "content": "b"}


def test_an_attempt_that_continues_is_not_noticed() -> None:
    going_on = {**attempt(2, "lost"), "continues": True}
    assert [is_last for _, is_last in rendered(attempt(), delta("a"), going_on, delta("b"))] == [False] * 4


def test_what_a_later_version_writes_is_passed_over() -> None:
    assert rendered({"type": "invented-later"}) == [(b"", False)]


@given(st.text())
def test_no_text_breaks_a_frame(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    (message,) = told(attempt(), delta(text))
    assert message["choices"][0]["delta"]["content"] == text
