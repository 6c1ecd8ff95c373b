"""The events endpoint: one client following one log (protocol, section 3)."""

from __future__ import annotations

import asyncio
import random
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tokentail.api import limits, problems, sse
from tokentail.api.context import TENANT, Context
from tokentail.api.dialects.dialect import NATIVE, Dialect
from tokentail.api.follower import Follower
from tokentail.api.problems import Problem
from tokentail.api.wire import Wire, wire_of
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import JobNotFound, StoreUnavailable, TokentailError

#: The paths that are served here.
FOLLOWED = re.compile(r"/v1/jobs/(?P<job_id>[^/]+)/events")

#: Where a client may say from where it goes on, the first that is there counts: a browser sends the
#: header of its newest event but keeps the query of its first connection.
AFTER_PARAMETERS = ("after", "last_event_id", "lastEventId")

#: How long reading an ended log may take to begin, before its follower is told to come back. As long as a
#: request waits for Redis.
LOAD_SECONDS = 2.0

#: For how long after a log's last sign of life its job is known to exist without asking: clients that come
#: back in a storm cost one look at the record in this time, and a deleted job is served no longer than this.
VOUCH_SECONDS = 1.0

_HEADERS = {name.decode(): value.decode() for name, value in sse.HEADERS}


async def follow(job_id: str, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request for a job's events. Raw ASGI: a response class would cost more per event than
    sending it."""
    try:
        admitted = await _admit(job_id, context, Request(scope))
    except Problem as problem:
        admitted = problems.response(problem)
    except TokentailError as error:
        admitted = problems.response(problems.problem_of(error))
    if isinstance(admitted, Response):
        await admitted(scope, receive, send)
        return
    try:
        await tell(admitted, sse.HEADERS, scope, send)
    finally:
        context.tails.leave(admitted)
        context.streams.leave(TENANT, job_id)


async def tell(follower: Follower, headers: list[tuple[bytes, bytes]], scope: Scope, send: Send) -> None:
    """Answer with what a follower is told, until that is over."""
    # A browser sends two kilobytes of them, and uvicorn keeps the scope for as long as the stream lives.
    scope["headers"].clear()
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    follower.start()
    await follower.over
    await send({"type": "http.response.body", "body": b""})


async def attach(
    context: Context,
    job_id: str,
    after: Cursor,
    wire: Wire,
    dialect: Dialect = NATIVE,
    *,
    has_ended: bool,
    must_know: bool = False,
) -> Follower:
    """A follower that knows, if its job has ended or it `must_know`, what is there before the headers say
    200; it has to leave. Raises Problem if the job has ended and the log is not there any more, or not to
    its end; StoreUnavailable if what is there can't be found out."""
    follower = context.tails.follow(job_id, after, wire, dialect, has_ended=has_ended)
    try:
        if context.draining:
            follower.close()  # The signal came while we asked for the record.
        elif has_ended or must_know:
            await _until_known(follower)
        if has_ended and not follower.tail.ended and not context.draining:
            context.tails.forget(follower.tail)
            detail = "The log has expired; the job's result is at its own address."
            raise Problem(410, "log_expired", detail, links={"self": f"/v1/jobs/{job_id}"})
    except BaseException:
        context.tails.leave(follower)
        raise
    return follower


async def _until_known(follower: Follower) -> None:
    try:
        async with asyncio.timeout(LOAD_SECONDS):
            await follower.known()
    except TimeoutError:
        raise StoreUnavailable("The log can't be read; try again in a moment.") from None


async def _admit(job_id: str, context: Context, request: Request) -> Follower | Response:
    """A follower, who has to leave, as has its stream; or the refusal. Raises Problem and TokentailError."""
    if request.method not in ("GET", "HEAD"):
        problem = Problem(405, "method_not_allowed", f"{request.method} {request.url.path}: use GET.")
        problem.headers["Allow"] = "GET, HEAD"
        raise problem
    after = cursor_of(request)
    if context.draining:
        return _come_back(context, request, limits.stopping())
    try:
        # Before anything that costs: who asks for too much is likely to ask again.
        context.streams.enter(TENANT, job_id)
    except Problem as problem:
        return _come_back(context, request, problem)
    admitted = None
    try:
        admitted = await _begin(job_id, after, context, request)
    finally:
        if not isinstance(admitted, Follower):
            context.streams.leave(TENANT, job_id)
    return admitted


async def _begin(job_id: str, after: Cursor, context: Context, request: Request) -> Follower | Response:
    try:
        has_ended, end = await _standing(context, job_id)
    except StoreUnavailable as error:
        context.refused(error)
        return _come_back(context, request, problems.problem_of(error))
    if has_ended and end == after:
        return Response(status_code=204)
    if request.method == "HEAD":
        return Response(headers=_HEADERS)
    try:
        return await attach(context, job_id, after, wire_of(request.scope), has_ended=has_ended)
    except StoreUnavailable as error:
        return _come_back(context, request, problems.problem_of(error))


async def _standing(context: Context, job_id: str) -> tuple[bool, Cursor | None]:
    """Whether a job has ended, and its log's last cursor if so. Raises JobNotFound and StoreUnavailable."""
    now = asyncio.get_running_loop().time()
    tail = context.tails.get(job_id)
    if tail is not None and now - tail.heard_at < VOUCH_SECONDS:
        return tail.ended, tail.cursor_before(tail.end)
    try:
        record = await context.lookups.record(TENANT, job_id)
    except JobNotFound:
        context.tails.forget_job(job_id)
        raise
    if not record.has_ended:
        context.tails.doubt_ending(job_id)
    if tail is not None:
        tail.heard_at = now
    return record.has_ended, record.cursor


def cursor_of(request: Request) -> Cursor:
    """Where to go on from. Raises MalformedCursor."""
    given = [request.headers.get("last-event-id")]
    given += [request.query_params.get(name) for name in AFTER_PARAMETERS]
    written = next((text for text in given if text), None)
    return START if written is None else Cursor.parse(written)


def _come_back(context: Context, request: Request, problem: Problem) -> Response:
    """Tell a client to come back later in a way that it understands.

    A browser's EventSource that gets anything but 200 never does, so to that one it has to look like a stream
    that ended.
    """
    context.streams.refused[problem.body["code"]] += 1
    if not _is_browser(request):
        return problems.response(problem)
    # Spread: those that were refused at one moment must not be back at one moment.
    wait_ms = int(problem.headers["Retry-After"]) * random.randint(1000, 2000)  # noqa: S311 -- no secret
    return Response(sse.CONNECTED + sse.retry(wait_ms), headers={**_HEADERS, "Connection": "close"})


def _is_browser(request: Request) -> bool:
    """Whether it may be a browser's EventSource. Who is taken for one by mistake is not told the reason, but
    every client understands a stream that ends."""
    headers = request.headers
    if "sec-fetch-mode" in headers:
        return True
    # That is not sent by older ones, and by none to a page that came by plain HTTP from another machine.
    wants_stream = "text/event-stream" in headers.get("accept", "")
    return wants_stream and headers.get("user-agent", "").startswith("Mozilla/")
