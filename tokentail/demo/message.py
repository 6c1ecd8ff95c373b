"""Deltas → the whole message, for a client that does not stream."""

from __future__ import annotations

from typing import Any

from tokentail.demo.body import Body
from tokentail.demo.chunks import Usage, logprobs
from tokentail.demo.steps import Delta


class WholeMessage:
    """Add the deltas in their order; `completion()` is what OpenAI answers in one piece."""

    def __init__(self, nonce: str, created: int, body: Body) -> None:
        self._id = f"chatcmpl-{nonce}"
        self._created = created
        self._body = body
        self._texts: dict[str, list[str]] = {}
        self._calls: list[dict[str, Any]] = []

    def add(self, delta: Delta) -> None:
        """Take in one token."""
        for name, value in delta.items():
            if name == "tool_calls":
                for part in value:
                    self._add_part(part)
            else:
                self._texts.setdefault(name, []).append(value)

    def _add_part(self, part: dict[str, Any]) -> None:
        call = next((call for call in self._calls if _continues(call, part)), None)
        if call is None:
            function = {"name": None, "arguments": ""}
            call = {
                "index": part.get("index"),
                "id": part.get("id"),
                "type": "function",
                "function": function,
            }
            self._calls.append(call)
        call["function"]["name"] = part["function"].get("name") or call["function"]["name"]
        call["function"]["arguments"] += part["function"]["arguments"]

    def completion(self, reason: str | None, usage: Usage | None) -> dict[str, Any]:
        """The answer's JSON."""
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None} | texts
        if self._calls:
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in self._calls]
        top = self._body.top_logprobs
        odds = None if top is None else logprobs(self._texts.get("content", []), top)
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._body.model,
            "system_fingerprint": "fp_demo",
            "choices": [{"index": 0, "message": message, "logprobs": odds, "finish_reason": reason}],
        } | ({} if usage is None else {"usage": usage})


def _continues(call: dict[str, Any], part: dict[str, Any]) -> bool:
    return part.get("index") == call["index"] and part.get("id") in (None, call["id"])
