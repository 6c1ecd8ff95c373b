"""The plain way to stream from Redis: every follower has a connection of its own and loops over XREAD.

In its favour: uvloop and httptools, hiredis, all entries of one answer in one write, no access log, no look
at the job's record.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator

import uvicorn
from redis.asyncio import ConnectionPool, Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tokentail.shared import keys

_BLOCK_MS = 15_000
_PAGE = 1000
#: One for each follower, and more than there will be.
_CONNECTIONS = 9_000

_redis = Redis.from_pool(
    ConnectionPool.from_url(os.environ["TOKENTAIL_REDIS_URL"], max_connections=_CONNECTIONS)
)


async def _events(job_id: str, cursor: str) -> AsyncIterator[bytes]:
    yield b": connected\n"
    key = keys.log(job_id)
    while True:
        answer = await _redis.xread({key: cursor}, count=_PAGE, block=_BLOCK_MS)
        if not answer:
            yield b": ping\n"
            continue
        entries = answer[0][1]
        cursor = entries[-1][0].decode()
        yield b"".join(
            b"id: %s\nevent: delta\ndata: %s\n\n" % (entry_id, fields[b"e"]) for entry_id, fields in entries
        )


async def _follow(request: Request) -> StreamingResponse:
    events = _events(request.path_params["job_id"], request.headers.get("last-event-id", "0"))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def main() -> None:
    """Serve on a free port and print which."""
    app = Starlette(routes=[Route("/v1/jobs/{job_id}/events", _follow)])
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"xread on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", log_level="warning", access_log=False, backlog=2048
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
