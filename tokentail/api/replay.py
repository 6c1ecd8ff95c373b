"""Catching up from Redis with what a tail no longer holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tokentail.api.dialects.dialect import Rendering
from tokentail.api.tail import Tail
from tokentail.api.wire import chunk
from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Entry, Logs


async def replay(logs: Logs, tail: Tail, number: int) -> AsyncGenerator[tuple[bytes, int], None]:
    """The entries from that number on until the tail has the next one, or to the last that is told behind it;
    a piece at a time, each with the number behind it. Waits while Redis is away. It ends before that if the
    log has gone meanwhile."""
    pauses = store.Pauses()
    render = tail.dialect.rendering()
    read = number if tail.dialect.is_stateless else 0
    # Both may come while the client takes what it was told.
    while read < (until := min(tail.first, tail.last_behind(number) or tail.first)):
        try:
            page = await logs.page(tail.job_id, tail.cursor_before(read))
        except StoreUnavailable:
            await pauses.sleep()
            continue
        if not page:
            return
        pauses.over()
        # Redis may be ahead of the tail, and what comes is the tail's to tell.
        chunks = [_chunk(render, entry) for entry in page[: until - read]]
        piece = b"".join(chunks[max(0, number - read) :])
        read += len(chunks)
        if read > number:
            yield piece, read


def _chunk(render: Rendering, entry: Entry) -> bytes:
    frames = render(str(entry.cursor).encode(), entry.raw)
    return chunk(frames.data) if frames.data else b""
