"""Catching up from Redis with what a tail no longer holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tokentail.api import sse
from tokentail.api.tail import Tail
from tokentail.api.wire import chunk
from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Entry, Logs


async def replay(logs: Logs, tail: Tail, number: int) -> AsyncGenerator[tuple[bytes, int], None]:
    """The entries from that number on until the tail has the next one, a piece at a time, each with the
    number behind it. Waits while Redis is away. It ends before that if the log has gone meanwhile."""
    pauses = store.Pauses()
    while number < tail.first:
        try:
            page = await logs.page(tail.job_id, tail.cursor_before(number))
        except StoreUnavailable:
            await pauses.sleep()
            continue
        if not page:
            return
        pauses.over()
        # Redis may be ahead of the tail, and what comes is the tail's to tell.
        page = page[: tail.first - number]
        number += len(page)
        yield b"".join(map(_chunk, page)), number


def _chunk(entry: Entry) -> bytes:
    return chunk(sse.block(str(entry.cursor).encode(), entry.raw)[0])
