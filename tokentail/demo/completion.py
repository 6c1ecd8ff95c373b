"""OpenAI's JSON: a completion as chunks of an event stream, or whole; usage, logprobs."""

from __future__ import annotations

from typing import Any

import orjson

from tokentail.demo.body import Body
from tokentail.demo.steps import Delta

DONE = b"data: [DONE]\n\n"
COMMENT = b": still thinking\n\n"

Usage = dict[str, Any]


class Chunks:
    """Writes the chunks of one completion. What stays the same is written once, here."""

    def __init__(self, nonce: str, created: int, body: Body) -> None:
        common = {
            "id": f"chatcmpl-{nonce}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": body.model,
            "system_fingerprint": "fp_demo",
        }
        self._head = b"data: " + orjson.dumps(common)[:-1] + b',"choices":['
        # OpenAI puts a null into every chunk but the last, once usage has been asked for.
        self._tail = b'],"usage":null}\n\n' if body.include_usage else b"]}\n\n"
        self._token_head = self._head + b'{"index":0,"delta":'
        self._token_tail = b',"logprobs":null,"finish_reason":null}' + self._tail
        self._top_logprobs = body.top_logprobs

    def token(self, delta: Delta) -> bytes:
        """One token."""
        if self._top_logprobs is None or "content" not in delta:
            return self._token_head + orjson.dumps(delta) + self._token_tail
        return self._choice(delta, None, logprobs([delta["content"]], self._top_logprobs))

    def opening(self) -> bytes:
        """The chunk that opens the message and says nothing yet."""
        return self._choice({"role": "assistant", "content": "", "refusal": None}, None)

    def finish(self, reason: str) -> bytes:
        """The chunk that says why the model stopped."""
        return self._choice({}, reason)

    def usage(self, usage: Usage, *, one_choice: bool) -> bytes:
        """The chunk that comes last when usage has been asked for."""
        choice = b'{"index":0,"delta":{},"finish_reason":null}' if one_choice else b""
        return self._head + choice + b'],"usage":' + orjson.dumps(usage) + b"}\n\n"

    @staticmethod
    def error(message: str) -> bytes:
        """An error in the place of a chunk."""
        error = {"message": message, "type": "server_error", "param": None, "code": None}
        return b"data: " + orjson.dumps({"error": error}) + b"\n\n"

    def _choice(self, delta: Delta, reason: str | None, odds: dict[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": odds, "finish_reason": reason}
        return self._head + orjson.dumps(choice) + self._tail


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


def usage_of(body: Body, tokens: int, thoughts: int) -> Usage:
    """`tokens` is all that the model said, of which `thoughts` were reasoning."""
    prompt = body.prompt_tokens()
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }


def logprobs(tokens: list[str], top: int) -> dict[str, Any]:
    """OpenAI-shaped log probabilities: made up, the same each time, the chosen token first."""
    return {"content": [_odds(token, top) for token in tokens], "refusal": None}


def _odds(token: str, top: int) -> dict[str, Any]:
    rivals = [_candidate(token if rank == 0 else f"{token}~{rank}", -0.1 - rank) for rank in range(top)]
    return _candidate(token, -0.1) | {"top_logprobs": rivals}


def _candidate(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _continues(call: dict[str, Any], part: dict[str, Any]) -> bool:
    return part.get("index") == call["index"] and part.get("id") in (None, call["id"])
