"""The HTTP edge within this process, without a server: for what no socket is needed for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from tokentail.api.app import Edge, create_app
from tokentail.shared.settings import Settings


@asynccontextmanager
async def edge_at(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, FastAPI]]:
    """A client of it, and what holds its state."""
    asgi = create_app(settings)
    assert isinstance(asgi, Edge)
    app = asgi._app
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://edge") as http,
    ):
        yield http, app
