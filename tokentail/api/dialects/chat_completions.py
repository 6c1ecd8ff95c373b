"""OpenAI Chat Completions: a log as chunks, a result as one completion.

Source: OpenAI's API reference, "Chat Completions: streaming events" and "The chat completion object". Where
it has no word for something, what DeepSeek introduced and SDKs, LangChain and LiteLLM read:
`reasoning_content`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import orjson

from tokentail.api import sse
from tokentail.api.dialects import openai_errors
from tokentail.api.dialects.dialect import Frames, Rendering
from tokentail.shared.events import ENDINGS, Completed, Ending, Error, Usage, decode, error
from tokentail.shared.fold import Result
from tokentail.shared.job import Record
from tokentail.shared.log import Logs

#: Completions are named after their job.
PREFIX = "chatcmpl-"

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class ChatCompletions:
    """The dialect for one job, `created` then (seconds since the epoch), with or without a chunk for usage as
    the request's `stream_options` ask for.

    It can't take back what it has said: a follower of an attempt that is superseded is told an error, and
    nothing more. Whoever comes later is told the newest attempt only.
    """

    job_id: str
    model: str
    created: int
    include_usage: bool = False

    is_stateless: ClassVar[bool] = False

    @classmethod
    def of(cls, record: Record, *, include_usage: bool) -> ChatCompletions:
        """For a job."""
        return cls(record.id, record.model, record.created // 1000, include_usage)

    def rendering(self) -> Rendering:
        """Chunks, an error, and `[DONE]`."""
        return _Chunks(self).frames

    def summary(self, record: Record) -> bytes:
        """All that is known when the log is not there any more: the result in one piece."""
        chunks, result = _Chunks(self), record.result
        cursor = str(record.cursor)
        if result is None or record.ending is None or record.ending["type"] != "completed":
            return frame({"error": openai_errors.told(why(record.ending))})
        calls = [{"index": index, **call} for index, call in enumerate(result["tool_calls"])]
        said = {**result, "tool_calls": calls}
        return chunks.chunk(cursor, _delta(said)) + chunks.completed(cursor, record.ending)

    def greeting(self, retry_ms: int) -> bytes:
        """A comment: a line `retry:` by itself is an empty event for OpenAI's SDKs."""
        return sse.CONNECTED

    def farewell(self) -> bytes:
        """An error: a stream that just ends is a whole answer for OpenAI's clients."""
        message = f"This stream has ended before the generation; {_address(self.job_id)} continues it."
        return frame({"error": openai_errors.body("stream_interrupted", message)})

    def reset(self, requested: str) -> bytes:
        """An error: what was said can't be taken back."""
        return frame({"error": openai_errors.body("unknown_cursor", f"The log never held {requested}.")})


class _Chunks:
    def __init__(self, dialect: ChatCompletions) -> None:
        self._job_id = dialect.job_id
        self._include_usage = dialect.include_usage
        self._head = {
            "id": PREFIX + dialect.job_id,
            "object": "chat.completion.chunk",
            "created": dialect.created,
            "model": dialect.model,
        }
        #: Whether this attempt has said something.
        self._has_begun = False

    def frames(self, entry_id: bytes, raw: bytes) -> Frames:
        event = decode(raw)
        cursor = entry_id.decode()
        if event["type"] == "delta":
            return Frames(self.chunk(cursor, _delta(event), logprobs=event.get("logprobs")))
        if event["type"] == "attempt":
            if event.get("continues", False) or not self._has_begun:
                return Frames(b"")
            self._has_begun = False
            return Frames(frame({"error": _restarted(self._job_id)}), is_last=True)
        if event["type"] == "completed":
            return Frames(self.completed(cursor, event))
        if event["type"] in ENDINGS:
            return Frames(frame({"error": openai_errors.told(why(event))}))
        return Frames(b"")  # Of a later version.

    def completed(self, cursor: str, event: Completed) -> bytes:
        end = self.chunk(cursor, {}, finish_reason=event["finish_reason"])
        if self._include_usage and event["usage"] is not None:
            end += frame({**self._head, "choices": [], "usage": usage(event["usage"]), "cursor": cursor})
        return end + _DONE

    def chunk(
        self, cursor: str, delta: dict[str, Any], *, logprobs: Any = None, finish_reason: str | None = None
    ) -> bytes:
        if not self._has_begun:
            self._has_begun = True
            delta = {"role": "assistant", **delta}
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        unused: dict[str, Any] = {"usage": None} if self._include_usage else {}
        return frame({**self._head, "choices": [choice], **unused, "cursor": cursor})


def _delta(event: Mapping[str, Any]) -> dict[str, Any]:
    delta: dict[str, Any] = {}
    for ours, theirs in (("content", "content"), ("reasoning", "reasoning_content"), ("refusal", "refusal")):
        if (text := event.get(ours)) is not None:
            delta[theirs] = text
    if parts := event.get("tool_calls"):
        delta["tool_calls"] = [_part(part) for part in parts]
    return delta


def _part(part: Any) -> dict[str, Any]:
    function = {name: part[name] for name in ("name", "arguments") if name in part}
    call: dict[str, Any] = {"index": part["index"]}
    if "id" in part:
        call |= {"id": part["id"], "type": "function"}
        function.setdefault("arguments", "")
    return {**call, "function": function}


def completion(record: Record, logprobs: dict[str, Any] | None) -> dict[str, Any]:
    """A completed job as one chat completion."""
    result, ending = cast(Result, record.result), cast(Completed, record.ending)
    used = ending["usage"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": result["content"],
        "refusal": result["refusal"],
    }
    if result["reasoning"] is not None:
        message["reasoning_content"] = result["reasoning"]
    if result["tool_calls"]:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in result["tool_calls"]
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": result["finish_reason"],
    }
    return {
        "id": PREFIX + record.id,
        "object": "chat.completion",
        "created": record.created // 1000,
        "model": record.model,
        "choices": [choice],
        **({"usage": usage(used)} if used is not None else {}),
    }


def usage(used: Usage) -> dict[str, int]:
    """Tokens as OpenAI tells them: without their source."""
    return {name: used[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def frame(data: dict[str, Any]) -> bytes:
    """One message of a stream."""
    return b"data: %b\n\n" % orjson.dumps(data)


async def logprobs_of(logs: Logs, job_id: str) -> dict[str, Any] | None:
    """All that the newest attempt said of them, which a result does not hold."""
    said: dict[str, list[Any]] = {}
    async for entry in logs.read(job_id):
        event = entry.event()
        if event["type"] == "attempt" and not event.get("continues", False):
            said = {}
        elif event["type"] == "delta":
            for kind, tokens in (event.get("logprobs") or {}).items():
                if isinstance(tokens, list):
                    said.setdefault(kind, []).extend(tokens)
    return {"content": None, "refusal": None, **said} if said else None


def why(ending: Ending | None) -> Error:
    """Why a job has no completion."""
    if ending is not None and ending["type"] == "failed":
        return ending["error"]
    return error("cancelled", "The job was cancelled.", retryable=False)


def _address(job_id: str) -> str:
    return f"GET /v1/chat/completions/{job_id}/stream"


def _restarted(job_id: str) -> dict[str, Any]:
    message = f"The generation began anew, what came so far is void; {_address(job_id)} follows it."
    return openai_errors.body("generation_restarted", message)
