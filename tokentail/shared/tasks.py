"""Tasks that run beside the work, their end, and what they wait for."""

from __future__ import annotations

import asyncio
from typing import Any

#: Between two cancellations of a task that did not end by the first.
AGAIN_SECONDS = 0.1


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end; how they end is nobody's concern any more.

    Cancelling once is not enough: in Python 3.11 `asyncio.wait_for`, with which redis-py sends, swallows a
    cancellation that comes as its work is done. For the same reason whoever waits here may be cancelled
    again; all tasks have ended also when that cancellation goes on.
    """
    cancelled: asyncio.CancelledError | None = None
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # Or it would be reported as never looked at.
    if cancelled is not None:
        raise cancelled


async def happens(event: asyncio.Event, within_seconds: float) -> bool:
    """Wait for an event for so long at most; whether it has happened."""
    try:
        async with asyncio.timeout(within_seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
