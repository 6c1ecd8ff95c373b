"""Each of our errors has its status and code for clients."""

from __future__ import annotations

import orjson
import pytest

from tokentail.api import problems
from tokentail.api.problems import Problem
from tokentail.shared.errors import (
    IdempotencyConflict,
    JobNotFound,
    LogCut,
    MalformedCursor,
    QueueFull,
    StoreUnavailable,
    TokentailError,
)


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (MalformedCursor("m"), 400, "invalid_cursor", None),
        (JobNotFound("m"), 404, "not_found", None),
        (IdempotencyConflict("m"), 409, "idempotency_conflict", None),
        (QueueFull(7), 503, "queue_full", "7"),
        (StoreUnavailable("m"), 503, "unavailable", "2"),
        (LogCut("m"), 503, "unavailable", "2"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TokentailError) else "",
)
def test_an_error_becomes_its_refusal(
    error: TokentailError, status: int, code: str, retry_after: str | None
) -> None:
    answer = problems.response(problems.problem_of(error))
    body = orjson.loads(bytes(answer.body))
    assert answer.status_code == body["status"] == status
    assert (body["code"], body["detail"]) == (code, str(error))
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("retry-after") == retry_after


def test_a_problem_has_what_rfc_9457_wants_and_its_own_members() -> None:
    problem = Problem(422, "unknown_model", "No such model.", models=["demo"])
    assert problem.body == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "code": "unknown_model",
        "detail": "No such model.",
        "models": ["demo"],
    }
