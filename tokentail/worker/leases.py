"""The leases that this worker holds: kept by heartbeat, obeyed when they are gone."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from tokentail.shared import tasks
from tokentail.shared.claim import Held
from tokentail.shared.lag import LoopLag
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.worker.attempt import Attempt, Stop
from tokentail.worker.heartbeat import Heartbeat, own_queue
from tokentail.worker.standing import Lease, trusted_seconds

_STOPS = {Held.CANCEL: Stop.CANCEL, Held.LOST: Stop.LOST, Held.GONE: Stop.GONE}


class Leases:
    """Which attempts this worker may still make. Belongs to the event loop; the heartbeat sees snapshots.

    `open_queue` opens the queue for the heartbeat, on its own loop.
    """

    def __init__(
        self,
        worker_id: str,
        queue: Queue,
        settings: Settings,
        open_queue: Callable[[], AbstractAsyncContextManager[Queue]] | None = None,
    ) -> None:
        self._worker_id = worker_id
        self._queue = queue
        self._lease_seconds = settings.lease_seconds
        self._open_queue = open_queue or functools.partial(own_queue, settings)
        #: How late the event loop is; measured while the leases are kept.
        self.lag = LoopLag()
        self._held: dict[Lease, Attempt] = {}
        #: What the heartbeat is to renew, and when (monotonic) each was asked for. Never changed, always
        #: replaced: another thread may be reading it.
        self._snapshot: Mapping[Lease, float] = {}
        #: Words that came over one connection before the claim they speak of came over the other, and when.
        #: Kept until the next renewal, which would say the same again.
        self._early: dict[Lease, tuple[Stop, float]] = {}

    def hold(self, attempt: Attempt, since: float) -> None:
        """Renew this attempt's lease from now on; it was claimed by a request sent at `since`."""
        lease = _lease(attempt)
        self._held[lease] = attempt
        self._snapshot = {**self._snapshot, lease: since}
        if lease in self._early:
            attempt.stop(self._early.pop(lease)[0])
        if time.monotonic() - since >= trusted_seconds(self._lease_seconds):
            # Its claim's answer took too long, or the loop to get here. Nobody renewed it meanwhile.
            attempt.stop(Stop.LOST)

    def release(self, attempt: Attempt) -> None:
        """The attempt is over; its lease is free or somebody else's."""
        gone = _lease(attempt)
        del self._held[gone]
        self._snapshot = {lease: since for lease, since in self._snapshot.items() if lease != gone}

    def attempts(self) -> Iterable[Attempt]:
        """Every attempt that is being made."""
        return list(self._held.values())

    def obey(self, job_id: str, fence: int, word: Held) -> None:
        """Do what the queue says of one job, if it speaks of an attempt that is ours or about to be."""
        why = _STOPS.get(word)
        if why is None:
            return
        if (job_id, fence) in self._held:
            self._held[job_id, fence].stop(why)
        else:
            self._early[job_id, fence] = why, time.monotonic()

    async def keep(self) -> None:
        """Renew for ever, in a thread; ends by cancellation, and then renews no more."""
        heartbeat = Heartbeat(
            self._worker_id,
            self._lease_seconds,
            open_queue=self._open_queue,
            held=lambda: self._snapshot,
            hear=self._hear,
            lag=self.lag,
        )
        measuring = asyncio.create_task(self.lag.run())
        try:
            heartbeat.start()
            await heartbeat.ended()
        finally:
            heartbeat.stop()
            await tasks.end(measuring)

    async def renew(self) -> None:
        """Renew once, on this loop: before the heart begins to beat by itself. Raises StoreUnavailable."""
        asked_at = time.monotonic()
        leases = list(self._held)
        self._hear(asked_at, leases, await self._queue.renew(self._worker_id, leases))

    def _hear(self, asked_at: float, leases: Sequence[Lease], words: Sequence[Held]) -> None:
        self._early = {lease: early for lease, early in self._early.items() if early[1] > asked_at}
        for lease, word in zip(leases, words, strict=True):
            self.obey(*lease, word)


def _lease(attempt: Attempt) -> Lease:
    return attempt.claim.job_id, attempt.claim.fence
