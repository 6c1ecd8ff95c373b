"""Events → the result so far. Pure, incremental, and the same on both sides of the wire.

The worker folds what it writes, the API folds a log that it reads, the client folds what it receives;
all three must come to the same result, so there is only this one.
"""

from __future__ import annotations

from typing import Any, TypedDict

from tokentail.shared.events import ENDINGS, Delta, Ending, Event, FinishReason, ToolCallPart


class ToolCall(TypedDict):
    """A whole tool call; `arguments` is the model's JSON text, not checked."""

    id: str
    name: str
    arguments: str


class Result(TypedDict):
    """What the model has said. A member is null when the model has said nothing of its kind."""

    content: str | None
    reasoning: str | None
    refusal: str | None
    tool_calls: list[ToolCall]
    finish_reason: FinishReason | None


class _Call:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Fold:
    """Add a log's events in their order; `result()` is the collected message at any point.

    A new attempt voids the deltas before it unless it continues; an ending keeps them. Pieces are kept
    as they came and joined on demand, so that a long answer costs linear time.
    """

    def __init__(self) -> None:
        self.attempt = 0
        self.ending: Ending | None = None
        self._clear()

    def _clear(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}

    def add(self, event: Event | dict[str, Any]) -> None:
        """Take one event in. Types that this version does not know are passed over."""
        kind = event["type"]
        if kind == "delta":
            self._add_delta(event)  # type: ignore[arg-type]
        elif kind == "attempt":
            self.attempt = event["attempt"]  # type: ignore[typeddict-item]
            if not event.get("continues", False):
                self._clear()
        elif kind in ENDINGS:
            self.ending = event  # type: ignore[assignment]

    def _add_delta(self, delta: Delta) -> None:
        if (content := delta.get("content")) is not None:
            self._content.append(content)
        if (reasoning := delta.get("reasoning")) is not None:
            self._reasoning.append(reasoning)
        if (refusal := delta.get("refusal")) is not None:
            self._refusal.append(refusal)
        for part in delta.get("tool_calls", ()):
            self._add_part(part)

    def _add_part(self, part: ToolCallPart) -> None:
        call = self._calls.get(part["index"])
        if call is None:
            call = self._calls[part["index"]] = _Call()
        call.id = part.get("id") or call.id
        call.name = part.get("name") or call.name
        if arguments := part.get("arguments"):
            call.arguments.append(arguments)

    def result(self) -> Result:
        """The collected message so far. Tool calls are in the order of their index."""
        finish = self.ending["finish_reason"] if self.ending and self.ending["type"] == "completed" else None
        return {
            "content": _joined(self._content),
            "reasoning": _joined(self._reasoning),
            "refusal": _joined(self._refusal),
            "tool_calls": [
                {"id": call.id, "name": call.name, "arguments": "".join(call.arguments)}
                for _, call in sorted(self._calls.items())
            ],
            "finish_reason": finish,
        }


def _joined(pieces: list[str]) -> str | None:
    return "".join(pieces) if pieces else None
