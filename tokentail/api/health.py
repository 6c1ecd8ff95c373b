"""Whether this process lives, and whether it should get requests."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokentail.api.context import context_of
from tokentail.shared import redis as store
from tokentail.shared.errors import ConfigError, StoreUnavailable

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, Any]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """200 if requests can be served: Redis answers on both planes, evicts nothing, and this process is
    not stopping. Else 503 with the reason."""
    context = context_of(request)
    try:
        await store.check(context.redis)
        await context.plane.check()
    except (ConfigError, StoreUnavailable) as error:
        return _answer(503, str(error))
    return _answer(503, "This process is stopping.") if context.draining else _answer(200, "ok")


def _answer(code: int, status: str) -> Response:
    return Response(orjson.dumps({"status": status}), code, media_type="application/json")
