"""The REST half of the protocol: submit, read, list, cancel, delete."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokentail.api import submission
from tokentail.api.context import TENANT, Context, context_of
from tokentail.api.wire import Nowhere
from tokentail.shared import endings, job
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import JobNotFound
from tokentail.shared.events import encode
from tokentail.shared.fold import Fold
from tokentail.shared.job import Record, Status
from tokentail.shared.log import Entry

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

#: Jobs in a page of the list: by default what a person reads, at most what takes a few round trips.
LIST_DEFAULT, LIST_LIMIT = 20, 100

#: The longest `wait`: proxies give up on silent requests after 55 to 100 s.
WAIT_LIMIT_SECONDS = 60

#: How long a DELETE waits for a running job to be cancelled, so that its followers see an ending. A dead
#: owner never answers; the job is deleted all the same.
DELETE_WAIT_SECONDS = 5.0


@router.post(
    "",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ChatRequest.model_json_schema()}},
        }
    },
)
async def submit(request: Request) -> Response:
    """Submit a chat request as a job. 202: it is stored and will reach an ending; 200: this
    Idempotency-Key had already submitted it."""
    context = context_of(request)
    key = submission.idempotency_key(request)
    body = await submission.read_body(request, context.settings.max_request_bytes)
    chat = submission.parse(body, context.models)
    context.headroom.check()
    record, is_new = await context.queue.enqueue(TENANT, chat, key)
    answer = await _view(context, record)
    return _json(answer, 202 if is_new else 200, {"Location": answer["links"]["self"]})


@router.get("")
async def list_jobs(request: Request) -> Response:
    """Your jobs, newest first, without results. A page may be short and still have a `next`."""
    context, query = context_of(request), request.query_params
    status = query.get("status")
    if status is not None and status not in set(Status):
        raise submission.invalid_parameter("status", f"must be one of {', '.join(Status)}")
    limit = _whole_number(query.get("limit", str(LIST_DEFAULT)), "limit", 1, LIST_LIMIT)
    after = query.get("after")
    if after is not None and not job.is_id(after):
        raise submission.invalid_parameter("after", "must be the `next` of another page")
    records, following = await context.queue.list_jobs(TENANT, status=status, limit=limit, after=after)
    jobs = [job.job_object(record, result=None, cursor=record.cursor) for record in records]
    return _json({"data": jobs, "next": following})


@router.get("/{job_id}")
async def get(request: Request, job_id: str) -> Response:
    """The job with its result so far. `wait` (seconds, up to 60): answer at the ending, or then."""
    context = context_of(request)
    wait = _whole_number(request.query_params.get("wait", "0"), "wait", 0, WAIT_LIMIT_SECONDS)
    record = await context.queue.get(TENANT, job_id)
    if wait and not record.has_ended:
        await ending(context, job_id, wait)
        record = await context.queue.get(TENANT, job_id)
    return _json(await _view(context, record))


@router.post("/{job_id}/cancel", status_code=202)
async def cancel(request: Request, job_id: str) -> Response:
    """Ask for the job's end. 202: it is being cancelled; 200: it has ended, and this is how."""
    context = context_of(request)
    answer = await _view(context, await stop(context, job_id))
    return _json(answer, 200 if answer["ended_at"] else 202)


@router.delete("/{job_id}", status_code=204)
async def delete(request: Request, job_id: str) -> Response:
    """Remove the job with all it holds; a running one is cancelled first."""
    context = context_of(request)
    record = await stop(context, job_id)
    if not record.has_ended:
        await ending(context, job_id, DELETE_WAIT_SECONDS)
    # The log before, so that it is gone whatever happens between the two, for then nobody finds it any more;
    # and after, for a worker may have written until it was told.
    await context.logs.delete(job_id)
    await context.queue.delete(TENANT, job_id)
    await context.logs.delete(job_id)
    context.tails.forget_job(job_id)
    return Response(status_code=204)


async def stop(context: Context, job_id: str) -> Record:
    """Ask for a job's end, and return its record then. Raises JobNotFound and StoreUnavailable."""
    if not job.is_id(job_id):
        raise JobNotFound(f"There is no job {job_id[:40]!r}.")
    await context.queue.cancel(TENANT, job_id)
    return await endings.settled(context.queue, context.logs, await context.queue.get(TENANT, job_id))


async def _view(context: Context, record: Record) -> dict[str, Any]:
    """The job object; a running job's result is the fold of its log."""
    record, fold, cursor = await standing(context, record)
    if fold is None:
        return job.job_object(record, result=record.result, cursor=record.cursor)
    return job.job_object(record, result=fold.result(), cursor=cursor)


async def standing(context: Context, record: Record) -> tuple[Record, Fold | None, Cursor | None]:
    """Where a job is: its record, and the fold of its log up to a cursor if it has begun and not ended.

    A log that has ended before its record was told (its owner died in between, or is about to) tells it now.
    """
    record = await endings.settled(context.queue, context.logs, record)
    if record.has_ended or record.attempt == 0:
        return record, None, None
    fold, cursor = await endings.folded(context.logs, record.id)
    if fold.ending is not None and cursor is not None:
        entry = Entry(cursor, encode(fold.ending))
        await endings.record_ending(context.queue, context.logs, record.id, record.fence, entry)
        record = await context.queue.get(record.tenant, record.id)
        if record.has_ended:
            return record, None, None
    return record, fold, cursor


async def ending(context: Context, job_id: str, seconds: float) -> None:
    """Wait for a job that has not ended: for the ending to stand in its log, at most so long."""
    context.tails.doubt_ending(job_id)
    follower = context.tails.follow(job_id, START, Nowhere())
    try:
        follower.start()
        async with asyncio.timeout(seconds):
            await follower.over
    except TimeoutError:
        pass
    finally:
        context.tails.leave(follower)


def _whole_number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise submission.invalid_parameter(name, f"must be a whole number from {least} to {most}")
    return int(text)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
