"""One chunk of a model's stream → one delta of ours, and what the chunks say at the end. Pure.

Chunks come in three shapes: OpenAI's JSON as the provider sent it, litellm's objects for providers that
speak otherwise, and litellm's older generic dicts. We read them before litellm's `CustomStreamWrapper`
does, because that drops chunks that carry a refusal only, invents a `stop` for a stream that broke off,
and costs several times what reading costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokentail.shared.events import Delta, FinishReason
from tokentail.worker.model.sse import BrokenStream
from tokentail.worker.model.tool_calls import ToolCalls

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "guardrail_intervened": "content_filter",
}


class ChunkReader:
    """Reads the chunks of one answer in their order; knows afterwards how it ended and what it used."""

    def __init__(self) -> None:
        self.usages: list[Any] = []
        self.chunk_count = 0
        self.byte_count = 0
        self._calls = ToolCalls()
        self._finish: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the provider has said why it stopped. Without that, a stream's end is a broken one."""
        return self._finish is not None

    @property
    def finish_reason(self) -> FinishReason:
        """Why the model stopped, in the four words of the protocol.

        An answer with tool calls that the provider calls `stop` (Ollama, some vLLM builds) is given as
        `tool_calls`: that is OpenAI's meaning of it, and what clients decide by. Unknown words are `stop`.
        """
        reason = _FINISH.get((self._finish or "").lower(), "stop")
        return "tool_calls" if reason == "stop" and len(self._calls) else reason

    def read(self, chunk: Mapping[str, Any]) -> Delta | None:
        """The delta of a chunk in OpenAI's shape, or None if it carries nothing for a client."""
        if (usage := chunk.get("usage")) is not None:
            self.usages.append(usage)
        choices = chunk.get("choices")
        if not choices:
            return None
        choice = choices[0]
        if reason := choice.get("finish_reason"):
            if reason == "error":  # OpenRouter's way to break off.
                raise BrokenStream("The provider broke off with an error.")
            self._finish = reason
        said = choice.get("delta")
        if said is None:
            said = {"content": choice.get("text")}
        delta = self._delta(said)
        if (logprobs := choice.get("logprobs")) is not None and delta is not None:
            delta["logprobs"] = logprobs
        return delta

    def _delta(self, said: Mapping[str, Any]) -> Delta | None:
        delta: Delta = {"type": "delta"}
        if content := said.get("content"):
            delta["content"] = text = content if isinstance(content, str) else _text_of(content)
            self._count(text)
        if reasoning := said.get("reasoning_content") or said.get("reasoning"):
            delta["reasoning"] = text = reasoning if isinstance(reasoning, str) else _text_of(reasoning)
            self._count(text)
        if refusal := said.get("refusal"):
            delta["refusal"] = refusal
            self._count(refusal)
        calls = said.get("tool_calls")
        if legacy := said.get("function_call"):
            calls = [*(calls or ()), {"function": legacy}]
        if calls and (parts := self._calls.take(calls)):
            delta["tool_calls"] = parts
            for part in parts:
                self._count(part.get("arguments") or part.get("name") or "")
        return delta if len(delta) > 1 else None

    def _count(self, text: str) -> None:
        self.chunk_count += 1
        self.byte_count += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def as_openai(chunk: Any) -> Mapping[str, Any] | None:
    """A chunk that litellm made, in OpenAI's shape; None for one of a kind that we don't know."""
    if isinstance(chunk, Mapping):
        return _from_generic(chunk) if "is_finished" in chunk else chunk if "choices" in chunk else None
    choices = getattr(chunk, "choices", None)
    if choices is None:
        return None
    return {"choices": [_choice(c) for c in choices[:1]], "usage": getattr(chunk, "usage", None)}


def _choice(choice: Any) -> Mapping[str, Any]:
    said = getattr(choice, "delta", None)
    logprobs = getattr(choice, "logprobs", None)
    return {
        # Absent members of litellm's objects raise instead of being None.
        "delta": {
            "content": getattr(said, "content", None),
            "reasoning_content": getattr(said, "reasoning_content", None),
            "reasoning": getattr(said, "reasoning", None),
            "refusal": getattr(said, "refusal", None),
            "tool_calls": [_plain(call) for call in getattr(said, "tool_calls", None) or ()],
            "function_call": _plain(getattr(said, "function_call", None)),
        },
        "finish_reason": getattr(choice, "finish_reason", None),
        "logprobs": _plain(logprobs),
    }


def _from_generic(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    tool = chunk.get("tool_use")
    return {
        "choices": [
            {
                "delta": {"content": chunk.get("text"), "tool_calls": [_plain(tool)] if tool else None},
                "finish_reason": chunk.get("finish_reason") if chunk.get("is_finished") else None,
            }
        ],
        "usage": chunk.get("usage"),
    }


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _text_of(parts: Any) -> str:
    """The text of a list of content parts, which Mistral sends where others send a string."""
    if not isinstance(parts, list):
        return str(parts)
    return "".join(
        p.get("text") or "" for p in parts if isinstance(p, Mapping) and isinstance(p.get("text"), str)
    )
