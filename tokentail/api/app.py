"""The HTTP edge, put together: routes, errors, request ids, and the life of one process."""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

import tokentail
from tokentail.api import health, jobs, limits, metrics, problems
from tokentail.api.context import Context, context_of
from tokentail.api.dialects import openai_chat, openai_models
from tokentail.api.follow import FOLLOWED, follow
from tokentail.api.headroom import Headroom
from tokentail.api.overdue import Overdue
from tokentail.api.problems import Problem
from tokentail.api.servers import Servers
from tokentail.api.submission import SUBMIT
from tokentail.api.sweeper import Sweeper
from tokentail.api.tails import Tails
from tokentail.api.watch import Watch
from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.errors import StoreUnavailable, TokentailError
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.planes import data_plane
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

logger = structlog.get_logger()

#: Connections of one process to each Redis, besides the reader's; commands are short, callers take turns.
REDIS_CONNECTIONS = 4

#: A client's request waits this long for Redis before it is told to come back.
REDIS_SECONDS = 2.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def create_app(
    settings: Settings, on_started: Callable[[Context], None] | None = None
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI app. Raises ConfigError if the model list can't be read.

    `on_started` is called within the running loop when requests can be served.
    """
    models = ModelList.load(settings.models or ModelList.demo_path())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings, models) as context:
            app.state.context = context
            if on_started is not None:
                on_started(context)
            yield

    app = FastAPI(
        title="tokentail",
        version=tokentail.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirect would leave the protocol, and ids never end in a slash.
        redirect_slashes=False,
    )
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(jobs.router)
    app.include_router(openai_models.router)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(TokentailError, _tokentail_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    return Edge(app)


@asynccontextmanager
async def _running(settings: Settings, models: ModelList) -> AsyncIterator[Context]:
    redis = store.client(settings.redis_url, connections=REDIS_CONNECTIONS, timeout_seconds=REDIS_SECONDS)
    plane = data_plane(
        settings.log_url,
        connections=REDIS_CONNECTIONS,
        timeout_seconds=REDIS_SECONDS,
        shared=redis if settings.log_url == settings.redis_url else None,
    )
    servers, headroom = Servers(redis, plane, settings), Headroom()
    logs = Logs(plane, wait_replicas=settings.wait_replicas)
    queue, tails = Queue(redis, settings), Tails(plane, max_bytes=settings.max_tail_bytes)
    context = Context(settings, models, redis, queue, logs, tails, servers, headroom)
    helpers = [
        asyncio.create_task(tails.run()),
        asyncio.create_task(Watch(servers, headroom).run()),
        asyncio.create_task(Overdue(queue, logs).run()),
        asyncio.create_task(Sweeper(tails, queue, logs, settings).run()),
    ]
    for helper in helpers:
        helper.add_done_callback(functools.partial(_must_not_end, context))
    try:
        yield context
    finally:
        await tasks.end(*helpers)
        await redis.aclose()
        await plane.aclose()


def _must_not_end(context: Context, helper: asyncio.Task[None]) -> None:
    # Without its reader a process would accept followers and never tell them anything. It ends as if it had
    # been told to, so that its streams end cleanly, and its exit code says that it was not.
    if not helper.cancelled():
        logger.critical("a helper broke down", error=repr(helper.exception()))
        context.is_broken = True
        signal.raise_signal(signal.SIGTERM)


class Edge:
    """The framework, and before it what is to stay small: whatever a stream passes through on its way in
    stays in memory for as long as it lives. So nothing here awaits, either.

    Gives every answer an X-Request-ID: the client's own if it is a sensible one, else a new one.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        context: Context = self._app.state.context
        send = _with_id(scope, send, context)
        if path := FOLLOWED.fullmatch(scope["path"]):
            return follow(path["job_id"], context, scope, receive, send)
        if openai_chat.PATHS.fullmatch(scope["path"]):
            scope["app"] = self._app
            return openai_chat.serve(scope, receive, send)
        if context.draining and (scope["method"], scope["path"]) == SUBMIT:
            problem = limits.stopping()
            self._app.state.counts.refused[problem.body["code"]] += 1
            return problems.response(problem)(scope, receive, send)
        return self._app(scope, receive, send)


def _with_id(scope: Scope, send: Send, context: Context) -> Send:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)

    def send_with_id(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = list(message.get("headers", ()))
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = request_id
            if context.draining:  # Or the client's next request would come here again.
                headers["Connection"] = "close"
        return send(message)

    return send_with_id


async def _problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101
    return _refusal(request, problem)


async def _tokentail_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TokentailError)  # noqa: S101
    if isinstance(error, StoreUnavailable):
        context_of(request).refused(error)
    return _refusal(request, problems.problem_of(error))


def _refusal(request: Request, problem: Problem) -> Response:
    metrics.count_refusal(request, problem)
    return problems.response(problem)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    problem = Problem(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}.")
    problem.headers.update(error.headers or {})
    return problems.response(problem)


async def _bug(request: Request, error: Exception) -> Response:
    # Starlette raises it again for the server to log, with its place and without the request's body.
    return problems.response(Problem(500, "internal", "tokentail made a mistake."))
