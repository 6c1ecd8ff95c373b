"""The job as the client sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tokentail.client.errors import JobCancelled, JobFailed, ProtocolError
from tokentail.shared.cursor import Cursor
from tokentail.shared.events import ENDINGS, Error, FinishReason, Timings, Usage
from tokentail.shared.fold import ToolCall

Status = Literal["queued", "running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Result:
    """What the model said, collected. A member is None when the model said nothing of its kind.

    `arguments` of a tool call is the model's JSON text, not checked. `finish_reason` is None as long as
    the job has not completed. `cost_usd` is None when the price of the model is not known.
    """

    job_id: str
    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    cost_usd: float | None = None

    @property
    def text(self) -> str:
        """The content, "" when there is none."""
        return self.content or ""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when the server answered; it does not change. Ask again with `client.get(job.id)`.

    `result` is what the model has said so far and `cursor` the position in the log that it stands for:
    following from there misses nothing and repeats nothing. `raw` is the whole object, with what this
    client does not know yet.
    """

    id: str
    status: Status
    model: str
    attempt: int = 0
    cursor: Cursor | None = None
    result: Result | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    timings: Timings | None = None
    error: Error | None = None
    created_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        """Whether the job has come to its ending; nothing about it changes any more."""
        return self.status in ENDINGS

    @property
    def text(self) -> str:
        """The text so far, "" when there is none."""
        return self.result.text if self.result else ""

    def completed_result(self) -> Result:
        """The result of an ended job. Raises JobFailed or JobCancelled if it did not complete."""
        if self.status == "failed":
            error: Error = self.error or {
                "code": "internal",
                "message": "no reason known",
                "retryable": False,
            }
            raise JobFailed(self.id, {"type": "failed", "error": error, "usage": self.usage})
        if self.status == "cancelled":
            raise JobCancelled(self.id, {"type": "cancelled", "reason": "", "usage": self.usage})
        return self.result or Result(self.id, usage=self.usage, cost_usd=self.cost_usd)


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first and without their results. `next` is the `after` of the page that follows,
    None on the last one."""

    jobs: Sequence[Job]
    next: str | None

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


def job_from(raw: Any) -> Job:
    """Read a job object. Raises ProtocolError when it is none."""
    if not isinstance(raw, dict) or not {"id", "status"} <= raw.keys():
        raise ProtocolError("The answer is not a job object; check the address.")
    return Job(
        id=raw["id"],
        status=raw["status"],
        model=raw.get("model", ""),
        attempt=raw.get("attempt") or 0,
        cursor=Cursor.parse(raw["cursor"]) if raw.get("cursor") else None,
        result=_result_from(raw) if raw.get("result") else None,
        usage=raw.get("usage"),
        cost_usd=raw.get("cost_usd"),
        timings=raw.get("timings"),
        error=raw.get("error"),
        created_at=raw.get("created_at"),
        started_at=raw.get("started_at"),
        ended_at=raw.get("ended_at"),
        metadata=raw.get("metadata") or {},
        raw=raw,
    )


def page_from(raw: Any) -> JobPage:
    """Read a list of jobs. Raises ProtocolError when it is none."""
    if not isinstance(raw, dict) or not isinstance(raw.get("data"), list):
        raise ProtocolError("The answer is not a list of jobs; check the address.")
    return JobPage([job_from(one) for one in raw["data"]], raw.get("next"))


def _result_from(raw: dict[str, Any]) -> Result:
    said = raw["result"]
    return Result(
        job_id=raw["id"],
        content=said.get("content"),
        reasoning=said.get("reasoning"),
        refusal=said.get("refusal"),
        tool_calls=cast("Sequence[ToolCall]", said.get("tool_calls") or ()),
        finish_reason=said.get("finish_reason"),
        usage=raw.get("usage"),
        cost_usd=raw.get("cost_usd"),
    )
