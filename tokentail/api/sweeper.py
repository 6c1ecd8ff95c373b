"""One task for all that happens to followers by the clock: pings, old age, dead peers, silent logs."""

from __future__ import annotations

import asyncio
import contextlib

from tokentail.api.outages import Hindrance
from tokentail.api.stuck import Stuck
from tokentail.api.tail import Tail
from tokentail.api.tails import Tails
from tokentail.shared import endings
from tokentail.shared.errors import JobNotFound, StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

#: How often followers are looked at, and so how late a ping or a cut-off may be. Much shorter than any
#: sensible setting, and a look at a thousand followers costs well below a millisecond.
SWEEP_SECONDS = 0.25

#: A log that was silent for this long is held against its record: its ending may have been decided but
#: never written, or it may have been deleted. Neither would ever wake the reader.
CHECK_SECONDS = 5.0


class Sweeper:
    """`run` it as a task."""

    def __init__(self, tails: Tails, queue: Queue, logs: Logs, settings: Settings) -> None:
        self._tails = tails
        self._queue = queue
        self._logs = logs
        self._settings = settings
        self._stuck = Stuck(settings.send_seconds, SWEEP_SECONDS)
        self._hindrance = Hindrance("check silent logs")

    async def run(self) -> None:
        """Sweep for ever; ends by cancellation."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            self._tails.forget_left()
            tails = self._tails.followed()
            for tail in tails:
                self._look_at(tail, now)
            for follower in self._stuck.look((one for tail in tails for one in tail.followers), now):
                follower.wire.abort()
            silent = [tail for tail in tails if not tail.is_over and now - tail.heard_at > CHECK_SECONDS]
            try:
                for tail in silent:
                    tail.heard_at = now
                    await self._check(tail)
                    self._hindrance.over()
            except StoreUnavailable as error:
                self._hindrance.met(error)

    def _look_at(self, tail: Tail, now: float) -> None:
        settings = self._settings
        silent = now - tail.told_at > settings.ping_seconds
        if silent:
            tail.told_at = now
        for follower in list(tail.followers):
            if follower.full_since is not None:
                if now - follower.full_since > settings.send_seconds:
                    follower.wire.abort()
            elif now - follower.began_at > settings.stream_seconds * follower.patience:
                follower.close()
            elif silent:
                follower.ping()

    async def _check(self, tail: Tail) -> None:
        """Find out what a silent log's record says of it. Raises StoreUnavailable."""
        record = await self._queue.record(tail.job_id)
        if record is not None and record.unlogged:
            with contextlib.suppress(JobNotFound):  # Deleted meanwhile; the next look finds no record.
                await endings.settled(self._queue, self._logs, record)
        elif record is None or (record.has_ended and not await self._has_ending(tail.job_id)):
            self._tails.forget(tail)

    async def _has_ending(self, job_id: str) -> bool:
        """A log without is over all the same when its job has ended: it was deleted, or its Redis came back
        without its end and nobody holds the entries any more."""
        last = await self._logs.last(job_id)
        return last is not None and last.is_ending
