"""Make litellm do for nobody what it would otherwise do in the middle of a first request.

A first call takes most of a second: modules are imported, schemas and TLS settings built. No list of
them would stay right, so a whole call is made, against a server of our own that lives for that call.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from contextlib import aclosing

from tokentail.worker.model.deployments import Route
from tokentail.worker.model.door import litellm
from tokentail.worker.model.generation import Generation

#: Seconds after which we begin to work cold rather than wait; a proxy that swallows loopback needs it.
_PATIENCE_SECONDS = 10.0

_CHUNK = b'data: {"id":"0","created":0,"model":"m","choices":[{"index":0,%s}]}\n\n'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    + _CHUNK % b'"delta":{"role":"assistant","content":"hi"}'
    + _CHUNK % b'"delta":{},"finish_reason":"stop"'
    + b"data: [DONE]\n\n"
)


async def warm_up() -> None:
    """Make one call on loopback and throw the answer away. Never fails; the network is not touched."""
    with contextlib.suppress(Exception), warnings.catch_warnings():
        # Raised while schemas are built, about litellm's own code.
        warnings.simplefilter("ignore")
        async with (
            asyncio.timeout(_PATIENCE_SECONDS),
            await asyncio.start_server(_answer, "127.0.0.1", 0) as server,
        ):
            host, port = server.sockets[0].getsockname()
            await _call(f"http://{host}:{port}/v1")


async def _call(url: str) -> None:
    call = {"messages": [{"role": "user", "content": "hi"}]}
    arguments = {
        "model": "openai/warm-up",
        "api_base": url,
        "api_key": "none",
        "stream": True,
        "max_retries": 0,
    }
    route = Route("warm-up", "openai", "warm-up", weight=1, params={}, prices={}, secrets=())
    async with aclosing(
        Generation(route, call, lambda: litellm.acompletion(**call, **arguments))
    ) as generation:
        async for _ in generation:
            pass


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_ANSWER)
    await writer.drain()
    writer.close()
