"""The events endpoint: one client following one log (protocol, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tokentail.api import problems, sse
from tokentail.api.context import TENANT, Context, context_of
from tokentail.api.problems import Problem
from tokentail.api.tail import Follower
from tokentail.shared import endings
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import StoreUnavailable, TokentailError
from tokentail.shared.job import Record

#: Where a client may say from where it goes on, the first that is there counts: a browser sends the
#: header of its newest event but keeps the query of its first connection.
AFTER_PARAMETERS = ("after", "last_event_id", "lastEventId")

#: A browser's EventSource that gets anything but 200 never comes back, so overload must look like a
#: stream that ended.
_BROWSER_RETRY_MS = 3000

#: How long reading an ended log may take to begin, before its follower is told to come back. As long as a
#: request waits for Redis.
LOAD_SECONDS = 2.0

#: The server's way to drop a connection without writing what is buffered for it.
ABORT_EXTENSION = "tokentail.abort"


class Follow:
    """An ASGI app for `/v1/jobs/{job_id}/events`. Raw ASGI: a response class costs more per event than
    sending it (measured: 1.5 against 4 to 27 µs)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        context = context_of(request)
        try:
            refusal = await self._answer(request, context, send)
        except Problem as problem:
            refusal = problems.response(problem)
        except TokentailError as error:
            refusal = problems.response(problems.problem_of(error))
        if refusal is not None:
            await refusal(scope, receive, send)

    async def _answer(self, request: Request, context: Context, send: Send) -> Response | None:
        """Refuse, or stream to the end. Returns the refusal."""
        after = _cursor(request)
        job_id = request.path_params["job_id"]
        if context.draining:
            return _come_back(request, StoreUnavailable("This process is stopping; reconnect."))
        try:
            record = await context.queue.get(TENANT, job_id)
            record = await endings.settled(context.queue, context.logs, record)
        except StoreUnavailable as error:
            context.refused(error)
            return _come_back(request, error)
        if record.has_ended and record.cursor == after:
            return Response(status_code=204)
        abort: Callable[[], None] = request.scope.get("extensions", {}).get(ABORT_EXTENSION, _no_abort)
        follower = context.tails.follow(job_id, after, abort, has_ended=record.has_ended)
        if context.draining:
            follower.close()  # The signal came while we asked for the record.
        try:
            return await self._follow(request, context, send, record, follower)
        finally:
            context.tails.leave(follower)

    async def _follow(
        self, request: Request, context: Context, send: Send, record: Record, follower: Follower
    ) -> Response | None:
        first: bytes | None = b""
        if record.has_ended:
            # Whether its log is still there, with the ending, has to be known before the headers say 200.
            try:
                async with asyncio.timeout(LOAD_SECONDS):
                    first = await follower.next_of_loaded()
            except TimeoutError:
                return _come_back(request, StoreUnavailable("The log can't be read; try again in a moment."))
            if not follower.tail.ended:
                detail = "The log has expired; the job's result is at its own address."
                raise Problem(410, "log_expired", detail, links={"self": f"/v1/jobs/{record.id}"})
        watch = asyncio.create_task(_until_gone(request, follower))
        try:
            await _stream(send, follower, first)
        finally:
            watch.cancel()
        return None


async def _stream(send: Send, follower: Follower, first: bytes | None) -> None:
    loop = asyncio.get_running_loop()
    await send({"type": "http.response.start", "status": 200, "headers": sse.HEADERS})
    chunk: bytes | None = sse.CONNECTED + (first or b"")
    while chunk is not None:
        follower.sending_since = loop.time()
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        follower.sent_at = loop.time()
        follower.sending_since = None
        chunk = await follower.next()
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(request: Request, follower: Follower) -> None:
    """`send` says nothing of a client that has left; only `receive` does."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    follower.close()


def _no_abort() -> None:
    """Under a server without the extension, a dead peer is left to TCP."""


def _cursor(request: Request) -> Cursor:
    """Where to go on from. Raises MalformedCursor."""
    given = [request.headers.get("last-event-id")]
    given += [request.query_params.get(name) for name in AFTER_PARAMETERS]
    written = next((text for text in given if text), None)
    return START if written is None else Cursor.parse(written)


def _come_back(request: Request, error: StoreUnavailable) -> Response:
    """Tell a client to reconnect in a way that it understands. Only browsers send Sec-Fetch headers."""
    if "sec-fetch-mode" not in request.headers:
        return problems.response(problems.problem_of(error))
    headers = {name.decode(): value.decode() for name, value in sse.HEADERS}
    return Response(sse.CONNECTED + sse.retry(_BROWSER_RETRY_MS), headers=headers)
