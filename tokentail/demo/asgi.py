"""The ASGI types, and the one response that is not a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def send_json(send: Send, status: int, value: Any, headers: Headers | None = None) -> None:
    """Answer with JSON, complete."""
    raw = orjson.dumps(value)
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head + (headers or [])})
    await send({"type": "http.response.body", "body": raw})


async def read_body(receive: Receive) -> bytes:
    """The whole request body."""
    pieces = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone. To be called once the body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
