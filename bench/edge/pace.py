"""A steady pace: as many deeds a second as asked for, whatever one of them costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Deeds that are due within this time are done together: a timer for each of 20,000 a second would cost more
#: than the deeds.
_TICK_SECONDS = 0.001


async def keep_pace(total: int, rate: float, do: Callable[[int, int], None]) -> None:
    """Call `do(first, end)` for consecutive ranges of 0..total, so that deed n is done n/rate seconds from
    now. What is late is made up for."""
    loop = asyncio.get_running_loop()
    began, done = loop.time(), 0
    while done < total:
        due = min(total, int((loop.time() - began) * rate) + 1)
        if due > done:
            do(done, due)
            done = due
        await asyncio.sleep(max(_TICK_SECONDS, began + done / rate - loop.time()))
