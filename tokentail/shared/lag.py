"""How late an event loop is: every stream of a process waits that long when something keeps it busy."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

import structlog

logger = structlog.get_logger()

#: Between two samples. What blocks a loop for less than this is seen with some luck only, but readers don't
#: see it at all.
SAMPLE_SECONDS = 0.25

#: How long a delay is remembered: longer than a heartbeat's pause, so that none falls between two of them.
WINDOW_SECONDS = 10.0

#: Beyond this readers see their text stop and go on in a jump. Bursts of chunks cost up to 0.1 s, and a whole
#: garbage collection 0.2 s: neither is worth a line.
SLOW_SECONDS = 0.5


class LoopLag:
    """Measures the loop that it is `run` on. May be asked from any thread."""

    def __init__(self) -> None:
        #: Samples taken so far: whoever sees it rise knows that the loop runs.
        self.samples = 0
        self._recent: deque[float] = deque(maxlen=round(WINDOW_SECONDS / SAMPLE_SECONDS))
        # Floats of their own: another thread must not walk through `_recent` while this one changes it.
        self._worst = 0.0
        self._due = math.inf
        self._warned_at = -math.inf

    @property
    def seconds(self) -> float:
        """How late the loop was at worst of late, a delay that still lasts included."""
        return max(self._worst, time.monotonic() - self._due)

    async def run(self) -> None:
        """Measure for ever; ends by cancellation."""
        while True:
            self._due = time.monotonic() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            now = time.monotonic()
            self.take(max(0.0, now - self._due), now)

    def take(self, late: float, now: float) -> None:
        """Add one sample. Warns of a bad one, though not of each in a bad minute."""
        self.samples += 1
        self._recent.append(late)
        self._worst = max(self._recent)
        if late > SLOW_SECONDS and now - self._warned_at > WINDOW_SECONDS:
            self._warned_at = now
            logger.warning("the event loop was late", seconds=round(late, 3))
