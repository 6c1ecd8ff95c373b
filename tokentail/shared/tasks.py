"""Tasks that run beside the work, and their end."""

from __future__ import annotations

import asyncio
from typing import Any

#: Between two cancellations of a task that did not end by the first.
AGAIN_SECONDS = 0.1


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end; how they end is nobody's concern any more.

    Cancelling once is not enough: in Python 3.11 `asyncio.wait_for`, with which redis-py sends, swallows a
    cancellation that comes as its work is done.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
