"""The producer: writes logs as a worker does, without a model, at a steady pace.

Jobs come through the queue, are claimed and written with the worker's own appender, so Redis sees what it
sees of one worker with as many jobs. Each delta holds the time at which it was handed to the appender.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

import uvloop

from bench.edge.obey import obey
from bench.edge.pace import keep_pace
from bench.scenarios import MESSAGES
from tokentail.api.context import TENANT
from tokentail.shared import events
from tokentail.shared import redis as store
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.claim import Claim
from tokentail.shared.cursor import Cursor
from tokentail.shared.fold import Fold
from tokentail.shared.log import Entry, Logs
from tokentail.shared.planes import data_plane
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.worker.appender import Appender
from tokentail.worker.writer import Writer

_WORKER = "bench"
#: Longer than anything is measured: leases are not renewed here.
_LEASE_SECONDS = 600.0
_LOG_TTL_SECONDS = 3600.0

_COMPLETED: events.Completed = {
    "type": "completed",
    "finish_reason": "stop",
    "usage": None,
    "cost_usd": None,
    "timings": {"queued_ms": 0, "first_delta_ms": 0, "total_ms": 0},
}


class Producer:
    """The jobs of one measurement at a time."""

    def __init__(self, queue: Queue, appender: Appender) -> None:
        self._queue = queue
        self._appender = appender
        self._writers: list[Writer] = []

    async def open(self, jobs: int) -> Sequence[str]:
        """Begin this many jobs; their ids."""
        request = ChatRequest.model_validate({"model": "demo", "messages": MESSAGES})
        for _ in range(jobs):
            await self._queue.enqueue(TENANT, request, None)
        claims = (await self._queue.claim(_WORKER, jobs)).jobs
        self._writers = [await self._open(claim) for claim in claims]
        if len(claims) != jobs:
            raise RuntimeError(f"{len(claims)} jobs could be claimed instead of {jobs}.")
        return [claim.job_id for claim in claims]

    async def _open(self, claim: Claim) -> Writer:
        opening: events.Event = {"type": "attempt", "attempt": 1, "reason": "start"}
        writer = await self._appender.open(claim.job_id, claim.fence, opening, ttl_seconds=_LOG_TTL_SECONDS)
        if isinstance(writer, Entry):
            raise RuntimeError(f"{claim.job_id} has been written before.")
        return writer

    async def run(self, rate: float, seconds: float) -> int:
        """Write that many deltas a second into each log; how many each has got."""
        each, logs = round(rate * seconds), len(self._writers)

        def write(first: int, end: int) -> None:
            for number in range(first, end):
                content = str(time.monotonic_ns())
                self._writers[number % logs].append({"type": "delta", "content": content})

        await keep_pace(each * logs, rate * logs, write)
        for writer in self._writers:
            await writer.flushed()
        return each

    async def end(self) -> None:
        """Complete the jobs."""
        for writer in self._writers:
            ending = await self._appender.end(writer, _COMPLETED, ttl_seconds=_LOG_TTL_SECONDS)
            self._appender.close(writer)
            cursor = Cursor(writer.fence, ending.cursor.seq)
            await self._queue.finish(writer.job_id, writer.fence, cursor, _COMPLETED, Fold().result())
        self._writers = []


async def _serve() -> None:
    settings = Settings.load(redis_url=os.environ["TOKENTAIL_REDIS_URL"], lease_seconds=_LEASE_SECONDS)
    plane = data_plane(settings.log_url)
    appender = Appender(plane, Logs(plane))
    producer = Producer(Queue(store.client(settings.redis_url), settings), appender)
    sending = asyncio.create_task(appender.run())
    print("producer ready", flush=True)
    await obey(producer)
    sending.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
