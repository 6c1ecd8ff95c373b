"""The plain pattern: a FastAPI handler that loops over litellm's stream and yields server-sent events.

No queue, no log, nothing to resume: what a client misses is gone, and a restart ends every answer. In its
favour: uvloop and httptools, the fast JSON encoder, no access log, only the text in each event.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bench.peers.call import completion

app = FastAPI()


class Chat(BaseModel):
    """The body of a request."""

    model: str
    messages: list[dict[str, Any]]


@app.post("/chat")
async def chat(request: Chat) -> StreamingResponse:
    """Answer with the model's text as it comes."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(request), media_type="text/event-stream", headers=headers)


async def _events(request: Chat) -> AsyncIterator[bytes]:
    async for chunk in await completion(request.model, request.messages):
        if chunk.choices and (content := chunk.choices[0].delta.content):
            yield b"data: %s\n\n" % orjson.dumps({"content": content})
    yield b"data: [DONE]\n\n"


def main() -> None:
    """Serve on a free port and print which."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"plain on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
