"""Our refusals in OpenAI's shape, from which its SDKs make their exceptions by status.

Source: OpenAI's guide "Error codes", and openai-python's `_make_status_error`.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from tokentail.api.problems import Problem
from tokentail.shared.events import Error

#: Where OpenAI has a status, code or type of its own for what a problem says.
_STATUS = {"unknown_model": 404, "invalid_request": 400}
_CODES = {"unknown_model": "model_not_found"}
_TYPES = {400: "invalid_request_error", 404: "invalid_request_error", 409: "invalid_request_error"}
_TYPES |= {410: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_exceeded"}

#: How a job failed → the status of the answer to whoever waited for it. Others are 500.
_FAILURES = {
    "rate_limited": 429,
    "cancelled": 409,
    "provider_rejected": 400,
    "provider_error": 502,
    "provider_truncated": 502,
    "first_token_timeout": 504,
    "idle_timeout": 504,
    "deadline_exceeded": 504,
}


def body(code: str, message: str, *, kind: str = "api_error", param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    return {"message": message, "type": kind, "param": param, "code": code}


def told(error: Error) -> dict[str, Any]:
    """Why a job failed, within a stream."""
    return body(error["code"], error["message"])


def response(problem: Problem) -> Response:
    """A refusal as an answer. `param` names the first field that is at fault, with dots and brackets."""
    code = problem.body["code"]
    status = _STATUS.get(code, problem.status)
    fault: dict[str, str] = next(iter(problem.body.get("errors", ())), {})
    error = body(
        _CODES.get(code, code),
        _message(problem),
        kind=_TYPES.get(status, "api_error"),
        param=_param(fault.get("pointer", "")) or fault.get("parameter") or fault.get("header"),
    )
    return Response(orjson.dumps({"error": error}), status, problem.headers, media_type="application/json")


def failure(error: Error, headers: dict[str, str]) -> Response:
    """A job that failed as the answer to whoever waited for it. An SDK is told not to try again by itself:
    all that could be tried has been, and would be paid for again."""
    status = _FAILURES.get(error["code"], 500)
    why = body(error["code"], error["message"], kind=_TYPES.get(status, "api_error"))
    return Response(
        orjson.dumps({"error": why}),
        status,
        {**headers, "x-should-retry": "false"},
        media_type="application/json",
    )


def _message(problem: Problem) -> str:
    # litellm, as a client, makes its exceptions from words that it finds: no name of ours may stand there.
    names = ", ".join(problem.body.get("models", ()))
    detail: str = problem.body["detail"]
    return detail.replace(f": {names}.", "; GET /v1/models lists them.") if names else detail


def _param(pointer: str) -> str | None:
    """`/messages/0/role` → `messages[0].role`."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    return "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps).removeprefix(".") or None
