"""The closed set of log events, their JSON, and which of them are endings.

An event is stored, sent and folded as one JSON object whose first member is always `type`. The bytes
that the worker writes are the bytes that a follower receives: nobody in between parses them. So the
type can be read from the first few bytes (`type_of`), which is what the API does for each entry.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, cast

import orjson

Reason = Literal["start", "retry", "lost", "handoff"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class ToolCallPart(TypedDict):
    """Part of one tool call. `index` is ours: dense from 0, one per call. `id` and `name` come once,
    with the call's first part; `arguments` are pieces of JSON text to be joined in order."""

    index: int
    id: NotRequired[str]
    name: NotRequired[str]
    arguments: NotRequired[str]


class Usage(TypedDict):
    """Tokens used. `source` tells whether the provider counted them or we estimated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    source: Literal["provider", "estimated"]


class Timings(TypedDict):
    """Milliseconds: waiting in the queue before the first attempt, from there to the first delta that
    counts (null if there was none), and from submit to ending."""

    queued_ms: int
    first_delta_ms: int | None
    total_ms: int


class Error(TypedDict):
    """Why a job failed: a protocol error code, a sentence, and whether submitting again may help."""

    code: str
    message: str
    retryable: bool


def error(code: str, message: str, *, retryable: bool) -> Error:
    """Write an Error down."""
    return {"code": code, "message": message, "retryable": retryable}


class Attempt(TypedDict):
    """A new attempt begins. All earlier deltas are void unless it `continues`."""

    type: Literal["attempt"]
    attempt: int
    reason: Reason
    continues: NotRequired[bool]


class Delta(TypedDict):
    """One increment from the model: any of its members, at least one."""

    type: Literal["delta"]
    content: NotRequired[str]
    reasoning: NotRequired[str]
    refusal: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallPart]]
    logprobs: NotRequired[Any]


class Completed(TypedDict):
    """Ending: the model finished, and said why it stopped."""

    type: Literal["completed"]
    finish_reason: FinishReason
    usage: Usage | None
    cost_usd: float | None
    timings: Timings


class Failed(TypedDict):
    """Ending: no attempt came to a good end. What was streamed before it stays readable."""

    type: Literal["failed"]
    error: Error
    usage: Usage | None


class Cancelled(TypedDict):
    """Ending: somebody asked for it. `usage` is what was used until then, as far as it is known."""

    type: Literal["cancelled"]
    reason: str
    usage: Usage | None


def failed(why: Error, usage: Usage | None = None) -> Failed:
    """The ending of a job that no attempt brought to a good one."""
    return {"type": "failed", "error": why, "usage": usage}


def cancelled(usage: Usage | None = None) -> Cancelled:
    """The ending of a job that somebody asked to end."""
    return {"type": "cancelled", "reason": CANCEL_REASON, "usage": usage}


Ending = Completed | Failed | Cancelled
Event = Attempt | Delta | Ending

#: `reason` of a cancelled event; more may come.
CANCEL_REASON = "requested"

ENDINGS = frozenset({"completed", "failed", "cancelled"})

_PREFIX = b'{"type":"'
_DELTA = b'{"type":"delta"'


def encode(event: Event) -> bytes:
    """Write an event as one line of JSON, `type` first."""
    # A copy: orjson (3.13) hands out its buffer, which takes 4 KB whatever stands in it, and a worker keeps
    # what is written here for as long as an attempt lasts.
    raw = bytes(memoryview(orjson.dumps(event)))
    assert raw.startswith(_PREFIX), "an event's first member is its type"  # noqa: S101
    return raw


def decode(raw: bytes | str) -> Event:
    """Read what `encode` wrote."""
    return cast(Event, orjson.loads(raw))


def is_ending(raw: bytes) -> bool:
    """Whether nothing can follow this event."""
    return not raw.startswith(_DELTA) and type_of(raw) in ENDINGS


def type_of(raw: bytes) -> str:
    """The event's type, without parsing the rest."""
    start = len(_PREFIX)
    return raw[start : raw.index(b'"', start)].decode("ascii")
