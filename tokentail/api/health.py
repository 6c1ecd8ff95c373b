"""Whether this process lives, and whether it should get requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokentail.api import servers
from tokentail.api.context import context_of
from tokentail.api.servers import CONTROL, LOG, Answer
from tokentail.shared.errors import ConfigError

router = APIRouter(tags=["health"])

#: Kubernetes gives a probe one second unless told otherwise, and an answer that comes later is a bad one.
READY_SECONDS = 0.8


@router.get("/livez")
async def livez() -> dict[str, Any]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """200 if requests can be served: both planes answer (of a cluster at least one node), no server that
    answers evicts keys, and this process is not stopping. Else 503 with the reason. `away` lists the servers
    that do not answer."""
    context = context_of(request)
    if context.draining:
        return _answer(503, "This process is stopping.", [])
    answers = await context.servers.ask(servers.check, timeout_seconds=READY_SECONDS)
    refusal = refusal_of(answers)
    away = [answer.server.address for answer in answers if answer.is_away]
    some = "Some logs can't be reached." if away else "ok"
    return _answer(200 if refusal is None else 503, refusal or some, away)


def refusal_of(answers: Sequence[Answer[None]]) -> str | None:
    """Why this process should get no requests, if it should not.

    A cluster that has lost a node is no reason. Every process sees the same of it, so a balancer would take
    all of them out at once: nobody could submit, or follow the logs of the nodes that are there.
    """
    for answer in answers:
        if isinstance(answer.error, ConfigError):
            node = f"Node {answer.server.node} of the cluster: " if answer.server.node else ""
            return f"{node}{answer.error}"
    for plane in (CONTROL, LOG):
        of_plane = [answer for answer in answers if plane in answer.server.planes]
        if all(answer.error is not None for answer in of_plane):
            return str(of_plane[0].error) if of_plane else "No node of the cluster holds logs."
    return None


def _answer(code: int, status: str, away: list[str]) -> Response:
    body = {"status": status, "away": away} if away else {"status": status}
    return Response(orjson.dumps(body), code, media_type="application/json")
