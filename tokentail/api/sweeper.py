"""One task for all that happens to followers by the clock: pings, old age, dead peers, silent logs."""

from __future__ import annotations

import asyncio
import random

import structlog

from tokentail.api.tail import Follower, Tail
from tokentail.api.tails import Tails
from tokentail.shared import endings
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

logger = structlog.get_logger()

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

    async def run(self) -> None:
        """Sweep for ever; ends by cancellation."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            tails = self._tails.all()
            for tail in tails:
                for follower in list(tail.followers):
                    self._look_at(follower, now)
            silent = [tail for tail in tails if not tail.is_over and now - tail.heard_at > CHECK_SECONDS]
            try:
                for tail in silent:
                    tail.heard_at = now
                    await self._check(tail)
            except StoreUnavailable:
                logger.warning("silent logs can't be checked", logs=len(silent))

    def _look_at(self, follower: Follower, now: float) -> None:
        settings = self._settings
        if follower.sending_since is not None:
            if now - follower.sending_since > settings.send_seconds:
                follower.abort()
        # Jittered by a tenth, or all that came at one moment would come back at one moment.
        elif now - follower.began_at > settings.stream_seconds * random.uniform(0.95, 1.05):  # noqa: S311
            follower.close()
        elif now - follower.sent_at > settings.ping_seconds:
            follower.ping()

    async def _check(self, tail: Tail) -> None:
        """Find out what a silent log's record says of it. Raises StoreUnavailable."""
        record = await self._queue.record(tail.job_id)
        if record is not None and record.unlogged:
            ttl = self._settings.log_ttl_seconds
            await endings.log_ending(self._queue, self._logs, record, ttl_seconds=ttl)
        elif record is None or (record.has_ended and await self._logs.last(tail.job_id) is None):
            tail.gone = True
            tail.wake()
