"""Ending jobs that waited too long in the queue, also when there is no worker that could."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from tokentail.api.outages import Hindrance
from tokentail.shared import endings
from tokentail.shared.errors import JobNotFound, StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue

logger = structlog.get_logger()

#: How often the queue is looked through, and so how late such an ending may come. Each API process looks,
#: which costs Redis some 50 µs.
LOOK_SECONDS = 1.0


class Overdue:
    """`run` it as a task."""

    def __init__(self, queue: Queue, logs: Logs) -> None:
        self._queue = queue
        self._logs = logs
        self._hindrance = Hindrance("look for jobs that waited too long")

    async def run(self) -> None:
        """Look for ever; ends by cancellation."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                self._hindrance.over()
            except StoreUnavailable as error:
                self._hindrance.met(error)

    async def look(self) -> None:
        """End what waits too long now, and tell its followers. Raises StoreUnavailable; what is left undone
        then is done by the next who looks at the job."""
        while ended := await self._queue.expire():
            logger.info("jobs waited too long", jobs=len(ended))
            for job_id in ended:
                await self._tell(job_id)

    async def _tell(self, job_id: str) -> None:
        record = await self._queue.record(job_id)
        if record is not None:
            with contextlib.suppress(JobNotFound):  # Deleted meanwhile.
                await endings.settled(self._queue, self._logs, record)
