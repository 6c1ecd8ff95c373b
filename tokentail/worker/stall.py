"""A worker whose event loop runs no more: noticed from another thread, and ended."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import NoReturn

import structlog

from tokentail.shared.lag import SAMPLE_SECONDS, LoopLag

logger = structlog.get_logger()

#: How long the loop may stand still. Work from which it comes back takes seconds; three liveness probes, at
#: the usual ten seconds each, would have given the process up by now.
STALL_SECONDS = 30.0

#: How often the loop is looked at: no more often than it could show that it runs.
LOOK_SECONDS = SAMPLE_SECONDS

#: EX_SOFTWARE of sysexits.h: neither a clean stop nor a wrong setting; worth a restart.
EXIT_CODE = 70

#: For the last line. Whoever reads our standard error may have stopped to; that may be why the loop hangs.
TELL_SECONDS = 1.0


class Stall:
    """Measures for how long a loop has not run. Knows no clock; asked at each look, by one thread."""

    def __init__(self, lag: LoopLag) -> None:
        self._lag = lag
        self._samples = -1
        self._looked_at = 0.0
        self._seconds = 0.0

    def seconds(self, now: float) -> float:
        """As far as this thread ran to see it: a process that was frozen as a whole has not hung, and what
        it missed then counts as one look."""
        if self._lag.samples != self._samples:
            self._samples = self._lag.samples
            self._seconds = 0.0
        else:
            self._seconds += min(now - self._looked_at, 2 * LOOK_SECONDS)
        self._looked_at = now
        return self._seconds


def end_process(seconds: float, loop_thread: int) -> NoReturn:
    """End this process as it is, for its supervisor to replace it; its jobs go on elsewhere when their leases
    lapse. Says where the loop hangs, in one line. Nothing is cleaned up: that would be the loop's to do."""
    frame = sys._current_frames().get(loop_thread)
    place = "".join(traceback.format_stack(frame)) if frame is not None else ""

    def tell() -> None:
        logger.critical("the event loop hangs; this process ends", seconds=round(seconds), at=place)

    # By a thread: the loop may hang in a line that it logs, and hold the lock for that.
    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(TELL_SECONDS)
    os._exit(EXIT_CODE)
