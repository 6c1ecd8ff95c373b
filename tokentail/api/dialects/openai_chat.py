"""`/v1/chat/completions`: submit, follow and continue a job as OpenAI's clients know it."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal, NamedTuple

import orjson
import structlog
from pydantic import Field, field_validator
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tokentail.api import jobs, limits, metrics, problems, sse, submission
from tokentail.api.context import TENANT, Context, context_of
from tokentail.api.dialects import chat_completions, openai_errors
from tokentail.api.dialects.chat_completions import PREFIX, ChatCompletions
from tokentail.api.follow import attach, cursor_of, tell
from tokentail.api.follower import Follower
from tokentail.api.problems import Problem
from tokentail.api.wire import wire_of
from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import StoreUnavailable, TokentailError
from tokentail.shared.job import Record, Status
from tokentail.shared.messages import Strict
from tokentail.shared.models import ModelList

logger = structlog.get_logger()

#: The paths that are served here: where jobs are submitted, and where one is continued.
PATHS = re.compile(r"/v1/chat/completions(?:/(?P<job_id>[^/]+)/stream)?")

#: The header of every answer that a job stands behind.
JOB_HEADER = "x-tokentail-job"

#: How long an answer waits for its job's ending before it looks at the record again.
LOOK_SECONDS = 60.0


class StreamOptions(Strict):
    include_usage: bool | None = None
    #: Padding against guessing from sizes; there is none here either way.
    include_obfuscation: bool | None = None


class Options(Strict):
    """What OpenAI's request has beside the chat parameters, where it changes nothing of the answer or is done
    here, and one field of ours."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    modalities: list[Literal["text"]] | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    on_disconnect: Literal["continue", "cancel"] = "continue"

    @field_validator("stream_options")
    @classmethod
    def _needs_stream(cls, options: StreamOptions | None, info: Any) -> StreamOptions | None:
        if options is not None and not info.data.get("stream"):
            raise ValueError("needs stream: true")
        return options

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class _Stream(NamedTuple):
    """What is about to be told. `cancels`: the job is not worth its money without this client."""

    job_id: str
    follower: Follower
    cancels: bool


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request. Raw ASGI: a stream that passes through a framework keeps all of that in memory."""
    request = Request(scope, receive)
    context = context_of(request)
    path = PATHS.fullmatch(scope["path"])
    job_id = path["job_id"] if path else None
    try:
        answer = await (_continue(request, context, job_id) if job_id else _submit(request, context))
    except ClientDisconnect:
        return  # In the middle of its request.
    except Problem as problem:
        answer = _refusal(request, problem)
    except TokentailError as error:
        if isinstance(error, StoreUnavailable):
            context.refused(error)
        answer = _refusal(request, problems.problem_of(error))
    if isinstance(answer, Response):
        await answer(scope, receive, send)
        return
    headers = [*sse.HEADERS, (JOB_HEADER.encode(), answer.job_id.encode())]
    try:
        await tell(answer.follower, headers, scope, send)
    finally:
        context.tails.leave(answer.follower)
        context.streams.leave(TENANT, answer.job_id)
    if answer.cancels and answer.follower.wire.is_lost and not answer.follower.tail.is_over:
        await _cancel(context, answer.job_id)


def _refusal(request: Request, problem: Problem) -> Response:
    metrics.count_refusal(request, problem)
    if request.method == "GET" and problem.status in (429, 503):
        context_of(request).streams.refused[problem.body["code"]] += 1
    return openai_errors.response(problem)


async def _submit(request: Request, context: Context) -> Response | _Stream:
    _check_method(request, "POST")
    if context.draining:
        raise limits.stopping()
    key = submission.idempotency_key(request)
    body = await submission.read_body(request, context.settings.max_request_bytes)
    options, chat = _parse(body, context.models)
    context.headroom.check()
    if options.stream:
        context.streams.check(TENANT)
    record, _ = await context.queue.enqueue(TENANT, chat, key)
    try:
        if options.stream:
            dialect = ChatCompletions.of(record, include_usage=options.include_usage)
            cancels = options.on_disconnect == "cancel"
            return await _begin(request, context, record, dialect, START, cancels=cancels)
        return await _wait(request, context, record, options, has_logprobs=bool(chat.logprobs))
    except (Problem, TokentailError) as refusal:
        problem = refusal if isinstance(refusal, Problem) else problems.problem_of(refusal)
        # The job goes on. An SDK that tried again by itself, without a key, would make another one.
        problem.headers |= {JOB_HEADER: record.id} | ({} if key else {"x-should-retry": "false"})
        raise problem from None


def _parse(body: bytes, models: ModelList) -> tuple[Options, ChatRequest]:
    data = submission.decoded(body)
    if not isinstance(data, dict):
        submission.validated(ChatRequest, data)
    ours = {name: data[name] for name in Options.model_fields.keys() & data.keys()}
    options = submission.validated(Options, ours)
    chat = submission.validated(ChatRequest, {name: data[name] for name in data if name not in ours})
    submission.check_model(chat, models)
    return options, chat


async def _continue(request: Request, context: Context, job_id: str) -> Response | _Stream:
    _check_method(request, "GET")
    after = cursor_of(request)
    if context.draining:
        raise limits.stopping()
    record = await context.lookups.record(TENANT, job_id.removeprefix(PREFIX))
    if record.has_ended and record.cursor == after:
        return Response(status_code=204)
    wants_usage = request.query_params.get("include_usage", "false")
    if wants_usage not in ("true", "false"):
        raise submission.invalid_parameter("include_usage", "must be true or false")
    dialect = ChatCompletions.of(record, include_usage=wants_usage == "true")
    return await _begin(request, context, record, dialect, after, cancels=False)


async def _begin(
    request: Request,
    context: Context,
    record: Record,
    dialect: ChatCompletions,
    after: Cursor,
    *,
    cancels: bool,
) -> Response | _Stream:
    if not record.has_ended:
        context.tails.doubt_ending(record.id)
    context.streams.enter(TENANT, record.id)
    follower = None
    try:
        # Where there may have been a second attempt, the newest one has to be known.
        must_know = after != START or record.attempt > 1
        follower = await attach(
            context,
            record.id,
            after,
            wire_of(request.scope),
            dialect,
            has_ended=record.has_ended,
            must_know=must_know,
        )
        if follower.tail.number_after(after) is None and not context.draining:
            context.tails.leave(follower)
            follower = None
            raise Problem(400, "unknown_cursor", f"after: the log of {record.id} never held {after}.")
    except Problem as problem:
        if problem.status != 410 or after != START or record.ending is None:
            raise
        summary = dialect.summary(record)
        return Response(summary, headers=_headers(record, sse.HEADERS))
    finally:
        if follower is None:
            context.streams.leave(TENANT, record.id)
    return _Stream(record.id, follower, cancels)


async def _wait(
    request: Request, context: Context, record: Record, options: Options, *, has_logprobs: bool
) -> Response:
    """The whole completion, when it is there."""
    leaving = asyncio.create_task(_left(request))
    pauses = store.Pauses()
    try:
        while not record.has_ended:
            ending = asyncio.create_task(jobs.ending(context, record.id, LOOK_SECONDS))
            try:
                await asyncio.wait([leaving, ending], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await tasks.end(ending)
            if leaving.done():
                if options.on_disconnect == "cancel":
                    await _cancel(context, record.id)
                return Response(status_code=499)  # nginx's word for it; nobody reads it.
            try:
                record = (await jobs.standing(context, await context.queue.get(TENANT, record.id)))[0]
            except StoreUnavailable:
                await pauses.sleep()  # The job goes on, and so does its client.
            if context.draining and not record.has_ended:
                raise limits.stopping()
    finally:
        await tasks.end(leaving)
    return await _answer(context, record, has_logprobs=has_logprobs)


async def _answer(context: Context, record: Record, *, has_logprobs: bool) -> Response:
    headers = _headers(record)
    if record.status is not Status.COMPLETED:
        return openai_errors.failure(chat_completions.why(record.ending), headers)
    logprobs = await chat_completions.logprobs_of(context.logs, record.id) if has_logprobs else None
    completion = chat_completions.completion(record, logprobs)
    return Response(orjson.dumps(completion), headers=headers, media_type="application/json")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(context: Context, job_id: str) -> None:
    try:
        await jobs.stop(context, job_id)
    except TokentailError as error:
        logger.warning("a job whose client has left goes on", job=job_id, reason=str(error))


def _check_method(request: Request, method: str) -> None:
    if request.method != method:
        problem = Problem(405, "method_not_allowed", f"{request.method} {request.url.path}: use {method}.")
        problem.headers["Allow"] = method
        raise problem


def _headers(record: Record, more: list[tuple[bytes, bytes]] | tuple[()] = ()) -> dict[str, str]:
    return {JOB_HEADER: record.id, **{name.decode(): value.decode() for name, value in more}}
