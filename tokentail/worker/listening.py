"""What a worker listens to: the bell, which any worker may hear, and the words that are for it alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.claim import Held
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.queue import Queue
from tokentail.worker.heartbeat import ASK_AGAIN_SECONDS


class Bell:
    """Rings when there is something to claim. `heard` is called if this worker `has_room` for it."""

    def __init__(
        self, listening: Redis, queue: Queue, *, has_room: Callable[[], bool], heard: Callable[[], None]
    ) -> None:
        self._listening = listening
        self._queue = queue
        self._has_room = has_room
        self._heard = heard
        #: To be set whenever there may be room again.
        self.room = asyncio.Event()

    async def listen(self) -> None:
        """Until cancelled."""
        while True:
            if await _pop(self._listening, keys.BELL) is None:
                continue
            if not self._has_room():
                await self.pass_on()
                # Until this worker can claim again, the bell is left to those who can.
                while not self._has_room():
                    self.room.clear()
                    await self.room.wait()
            self._heard()

    async def pass_on(self) -> None:
        """Ring it for another worker."""
        with contextlib.suppress(StoreUnavailable):  # Every worker looks now and then, bell or not.
            await self._queue.ring()


async def listen_to_control(listening: Redis, worker_id: str, obey: Callable[[str, int, Held], None]) -> None:
    """Tell `obey` of each job, by its id and fence, that is not to go on here. Until cancelled."""
    while True:
        message = await _pop(listening, keys.control(worker_id))
        if message is not None:
            word, job_id, fence = message.decode().split()
            obey(job_id, int(fence), Held(word))


async def _pop(listening: Redis, key: str) -> bytes | None:
    try:
        with store.away_is_unavailable():
            popped = await listening.brpop([key], timeout=store.BLOCK_SECONDS)  # type: ignore[misc, arg-type]
    except StoreUnavailable:
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        return None
    return popped[1] if popped else None
