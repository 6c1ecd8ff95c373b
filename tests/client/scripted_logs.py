"""Jobs and logs for tests to serve: each function makes one event, one log or one job object."""

from __future__ import annotations

from typing import Any

from scripted_server import Logged

FENCE = 1_763_881_234_567

#: The route of `job_1`'s events.
EVENTS = ("GET", "/v1/jobs/job_1/events")


def attempt(number: int = 1, reason: str = "start", **more: Any) -> dict[str, Any]:
    return {"type": "attempt", "attempt": number, "reason": reason, **more}


def delta(content: str) -> dict[str, Any]:
    return {"type": "delta", "content": content}


def completed(finish_reason: str = "stop") -> dict[str, Any]:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "source": "provider"}
    timings = {"queued_ms": 1, "first_delta_ms": 2, "total_ms": 3}
    return {
        "type": "completed",
        "finish_reason": finish_reason,
        "usage": usage,
        "cost_usd": 0.5,
        "timings": timings,
    }


def failed(code: str = "provider_error", message: str = "The provider broke down.") -> dict[str, Any]:
    return {
        "type": "failed",
        "error": {"code": code, "message": message, "retryable": True},
        "usage": None,
    }


def cancelled() -> dict[str, Any]:
    return {"type": "cancelled", "reason": "requested", "usage": None}


def logged(*events: dict[str, Any], fence: int = FENCE) -> list[Logged]:
    """Number events as one fence's entries."""
    return [(f"{fence}-{seq}", event) for seq, event in enumerate(events)]


#: An answer in three pieces, two of which are more than ASCII.
GREETING = logged(attempt(), delta("Grüß"), delta(" dich,"), delta(" Welt 😀"), completed())


def job(job_id: str = "job_1", status: str = "queued", **more: Any) -> dict[str, Any]:
    """A job object."""
    empty = {
        "started_at": None,
        "ended_at": None,
        "attempt": 0,
        "cursor": None,
        "result": None,
        "usage": None,
        "cost_usd": None,
        "timings": None,
        "error": None,
        "metadata": {},
    }
    created = "2025-11-23T07:00:34.567Z"
    return {
        "id": job_id,
        "object": "job",
        "status": status,
        "model": "demo",
        "created_at": created,
        **empty,
        **more,
    }


def result(content: str) -> dict[str, Any]:
    """The `result` of a job object."""
    return {
        "content": content,
        "reasoning": None,
        "refusal": None,
        "tool_calls": [],
        "finish_reason": "stop",
    }


def contents(items: list[Any]) -> list[str]:
    """The text of each of these deltas."""
    return [item["content"] for item in items]
