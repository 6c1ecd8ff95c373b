"""The heartbeat of a worker: renews its leases from a thread of its own, whatever its event loop does.

Work that keeps the event loop busy (a burst of chunks, a large document) delays every stream of the
process, but loses no job: this thread has its own loop and its own connection, and takes the interpreter
from running Python code every 5 ms. What it can't do is run while a C call holds the interpreter's lock: then
it stands still with all the rest, and the leases are the bound. Others take over, and the fence keeps the
jobs' logs.

Leases that could not be renewed are given up before they end (`standing`). The event loop is told to stop
their attempts; if it is busy just then, it is told when it comes to it. Until then it generates nothing,
for that is its own work, too; what it had still to append is refused by the fence if others have begun.
A loop that hangs for good would keep its jobs for ever: after a while its process is ended (`stall`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import structlog

from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.claim import Held
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.lag import LoopLag
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.worker import stall
from tokentail.worker.stall import Stall
from tokentail.worker.standing import Lease, Standing

logger = structlog.get_logger()

#: Renewals per lease: two may be lost before it is given up.
RENEWALS_PER_LEASE = 4

#: The longest pause between two, for very long leases: a worker that is silent for a minute is not listed.
BEAT_SECONDS = 15.0

#: Pause before talking again to a Redis that did not answer.
ASK_AGAIN_SECONDS = 0.25

#: To end, the thread closes one connection, which the driver bounds by its connect timeout.
STOP_SECONDS = store.CONNECT_TIMEOUT_SECONDS + 1.0

#: Told on the event loop what became of leases that were asked for at a time (monotonic).
Hear = Callable[[float, Sequence[Lease], Sequence[Held]], None]


@asynccontextmanager
async def own_queue(settings: Settings) -> AsyncIterator[Queue]:
    """The queue, through a client that belongs to the loop that opens it."""
    async with store.client(settings.redis_url) as client:
        yield Queue(client, settings)


class Heartbeat:
    """Made on the event loop that is to hear. `start` it once; `stop` it at any time, as often as you like.

    `held` gives an immutable snapshot of what to renew: each lease and when it was asked for.
    """

    def __init__(
        self,
        worker_id: str,
        lease_seconds: float,
        *,
        open_queue: Callable[[], AbstractAsyncContextManager[Queue]],
        held: Callable[[], Mapping[Lease, float]],
        hear: Hear,
        lag: LoopLag,
    ) -> None:
        self._hearing = asyncio.get_running_loop()
        self._hearing_thread = threading.get_ident()
        self._worker_id = worker_id
        self._interval = min(lease_seconds / RENEWALS_PER_LEASE, BEAT_SECONDS)
        self._open_queue = open_queue
        self._held = held
        self._hear = hear
        self._lag = lag
        self._standing = Standing(lease_seconds)
        self._stall = Stall(lag)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    # On the event loop

    def start(self) -> None:
        """Begin to renew."""
        self._loop = asyncio.new_event_loop()
        # A daemon: it must not keep a process alive that ends without having stopped it.
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="heartbeat", daemon=True)
        self._thread.start()

    async def ended(self) -> None:
        """Wait for its end. Raises what ended it, if it was not `stop`."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Renew no more; when this returns, nothing is on its way. A join instead of an await: it takes
        milliseconds, comes when nothing else is left to do, and can't be cancelled half way."""
        if self._thread is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # The loop is closed: it has ended already.
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_SECONDS)

    # In the thread

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._live())
        except BaseException as failure:
            self._failure = failure
        self._call(self._ended.set)

    async def _live(self) -> None:
        async with self._open_queue() as queue:
            parts = [asyncio.create_task(work) for work in (self._beat(queue), self._watch())]
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait([*parts, stopping], return_when=asyncio.FIRST_COMPLETED)
                for part in parts:
                    if part.done():
                        part.result()
            finally:
                await tasks.end(*parts, stopping)

    async def _beat(self, queue: Queue) -> None:
        while True:
            pause = self._interval
            try:
                async with asyncio.timeout(self._interval):
                    await self._renew(queue)
            except (StoreUnavailable, TimeoutError):
                pause = min(ASK_AGAIN_SECONDS, self._interval)
            await asyncio.sleep(pause)

    async def _renew(self, queue: Queue) -> None:
        asked_at = time.monotonic()
        leases = self._standing.to_renew(self._held())
        answers = await queue.renew(self._worker_id, leases, lag_seconds=self._lag.seconds)
        self._standing.hear(leases, answers, asked_at)
        self._call(self._hear, asked_at, leases, answers)

    async def _watch(self) -> None:
        """Beside the renewals, which may wait for an answer when a lease has to be given up."""
        look = min(stall.LOOK_SECONDS, self._interval / 4)
        while True:
            await asyncio.sleep(look)
            now = time.monotonic()
            if lapsed := self._standing.give_up(self._held(), now):
                logger.warning("leases could not be renewed; their attempts are stopped", jobs=len(lapsed))
                self._call(self._hear, now, lapsed, [Held.LOST] * len(lapsed))
            if (seconds := self._stall.seconds(now)) >= stall.STALL_SECONDS:
                stall.end_process(seconds, self._hearing_thread)

    def _call(self, what: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # The loop that was to hear is closed.
            self._hearing.call_soon_threadsafe(what, *args)
