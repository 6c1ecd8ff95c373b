"""OpenAI's model list: the aliases that may be asked for."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokentail.api.context import context_of
from tokentail.api.dialects import openai_errors
from tokentail.api.problems import Problem

router = APIRouter(prefix="/v1/models", tags=["openai"])


@router.get("")
async def list_models(request: Request) -> Response:
    """All aliases of the model list."""
    models = context_of(request).models
    return _json({"object": "list", "data": [_model(alias) for alias in models.aliases]})


@router.get("/{alias:path}")
async def get_model(request: Request, alias: str) -> Response:
    """One alias, which may hold slashes."""
    models = context_of(request).models
    if alias not in models:
        detail = f"{alias[:100]!r} is not one of this server's models; GET /v1/models lists them."
        return openai_errors.response(Problem(404, "unknown_model", detail))
    return _json(_model(alias))


def _model(alias: str) -> dict[str, Any]:
    # Nobody knows since when a deployment has been there; the field is required.
    return {"id": alias, "object": "model", "created": 0, "owned_by": "tokentail"}


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
