"""The leases that this worker holds: kept by heartbeat, obeyed when they are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from tokentail.shared.claim import Held
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.queue import Queue
from tokentail.worker.attempt import Attempt, Stop

#: Renewals per lease: three may be lost before it lapses.
RENEWALS_PER_LEASE = 4

#: Pause before talking again to a Redis that did not answer.
AWAY_SECONDS = 0.25

_STOPS = {Held.CANCEL: Stop.CANCEL, Held.LOST: Stop.LOST, Held.GONE: Stop.GONE}


class Leases:
    """Which attempts this worker may still make, and since when that is known."""

    def __init__(self, worker_id: str, queue: Queue, lease_seconds: float) -> None:
        self._worker_id = worker_id
        self._queue = queue
        self._lease_seconds = lease_seconds
        #: By job and fence, for a job that was lost may be claimed again before its old attempt has gone:
        #: the attempt, and when (monotonic) the request was sent that last made its lease whole.
        self._held: dict[tuple[str, int], tuple[Attempt, float]] = {}
        #: Words that came over one connection before the claim they speak of came over the other. Kept until
        #: the next renewal, which would say the same again.
        self._early: dict[tuple[str, int], Stop] = {}

    def hold(self, attempt: Attempt, since: float) -> None:
        """Renew this attempt's lease from now on; it was claimed by a request sent at `since`."""
        self._held[_key(attempt)] = (attempt, since)
        if (why := self._early.pop(_key(attempt), None)) is not None:
            attempt.stop(why)

    def release(self, attempt: Attempt) -> None:
        """The attempt is over; its lease is free or somebody else's."""
        del self._held[_key(attempt)]

    def attempts(self) -> Iterable[Attempt]:
        """Every attempt that is being made."""
        return [attempt for attempt, _ in self._held.values()]

    def obey(self, job_id: str, fence: int, word: Held) -> None:
        """Do what the queue says of one job, if it speaks of an attempt that is ours or about to be."""
        why = _STOPS.get(word)
        if why is None:
            return
        if (job_id, fence) in self._held:
            self._held[job_id, fence][0].stop(why)
        else:
            self._early[job_id, fence] = why

    async def keep(self) -> None:
        """Renew for ever; ends by cancellation."""
        interval = self._lease_seconds / RENEWALS_PER_LEASE
        while True:
            pause = interval
            try:
                async with asyncio.timeout(interval):
                    await self.renew()
            except (StoreUnavailable, TimeoutError):
                pause = min(AWAY_SECONDS, interval)
            self._give_up_lapsed()
            await asyncio.sleep(pause)

    async def renew(self) -> None:
        """Renew all leases once, and beat the heart. Raises StoreUnavailable."""
        asked_at = time.monotonic()
        self._early.clear()
        held = list(self._held)
        answers = await self._queue.renew(self._worker_id, held)
        for key, answer in zip(held, answers, strict=True):
            if key in self._held and answer in (Held.HELD, Held.CANCEL):
                self._held[key] = (self._held[key][0], asked_at)
            self.obey(*key, answer)

    def _give_up_lapsed(self) -> None:
        # Without an answer for a whole lease: somebody else may have the job by now and pay for it too.
        # Its log is safe from us in any case; this saves the provider a second generation.
        oldest = time.monotonic() - self._lease_seconds
        for attempt, since in self._held.values():
            if since < oldest:
                attempt.stop(Stop.LOST)


def _key(attempt: Attempt) -> tuple[str, int]:
    return attempt.claim.job_id, attempt.claim.fence
