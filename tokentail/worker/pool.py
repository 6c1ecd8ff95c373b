"""One worker process: arq's `Worker` with its claim, lease, finish and abort replaced by ours.

arq keeps what it is good at: the job envelope and its registry of functions, the process with its
start, signals, hooks and stop. What is replaced, and why, is ADR 0003.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from signal import Signals
from typing import Any

import orjson
import structlog
from arq.connections import ArqRedis
from arq.jobs import deserialize_job_raw
from arq.utils import poll
from arq.worker import Worker, func
from redis.asyncio import Redis

from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.claim import Claim
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.queue import FUNCTION, Queue, new_ticket
from tokentail.shared.settings import Settings
from tokentail.worker.attempt import Attempt, Stop
from tokentail.worker.heartbeat import ASK_AGAIN_SECONDS
from tokentail.worker.leases import Leases
from tokentail.worker.listening import Bell, listen_to_control
from tokentail.worker.solitude import Solitude

logger = structlog.get_logger()

#: A worker looks at the queue at least this often, whatever the bell did: a bell that was heard by a
#: worker which then died costs its job no more than this.
LOOK_SECONDS = 1.0

#: How long handed-back jobs and endings in flight may take at the end of a drain.
GOODBYE_SECONDS = 5.0


def worker_id() -> str:
    """`<host>:<pid>:<random>`: readable by operators, never used twice."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Pool(Worker):
    """Claims jobs as slots are free, runs them, keeps their leases, and drains on SIGTERM.

    Invariant: a claimed job's lease is held, and renewed, until its attempt has returned.
    """

    def __init__(
        self,
        *,
        redis: ArqRedis,
        listening: Redis,
        queue: Queue,
        new_attempt: Callable[[Claim], Attempt],
        helpers: Iterable[Coroutine[Any, Any, None]],
        settings: Settings,
        on_ready: Callable[[str], None],
    ) -> None:
        super().__init__(
            functions=[func(self._generate, name=FUNCTION)],
            redis_pool=redis,
            max_jobs=settings.concurrency,
            poll_delay=0,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
        )
        self.id = worker_id()
        self._queue = queue
        self._listening = listening
        self._new_attempt = new_attempt
        self._settings = settings
        self._on_ready = on_ready
        self._leases = Leases(self.id, queue, settings)
        #: Set whenever a claim may bring something: the bell, a slot that became free, the drain.
        self._wake = asyncio.Event()
        self._bell = Bell(listening, queue, has_room=lambda: self._free_slots() > 0, heard=self._wake.set)
        self._bell_task: asyncio.Task[None] | None = None
        #: What runs beside the jobs for as long as the worker does; that one ends is a bug that ends it.
        self._helpers: list[asyncio.Task[None]] = []
        self._work_beside = list(helpers)
        self._draining: asyncio.Task[None] | None = None
        #: Held from asking for jobs until their attempts have begun.
        self._claiming = asyncio.Lock()
        #: Of the claim that is to be answered next: asked again under the same name, no job is lost.
        self._ticket = new_ticket()
        self._unanswered = False
        self._solitude = Solitude(self._make_room)

    # Start and stop, called by arq

    async def main(self) -> None:
        """arq's, without its greeting: that asks Redis for figures to log, and a Redis that is away in that
        moment would end the worker."""
        self.ctx["redis"] = self.pool
        await self._begin()
        async for _ in poll(self.poll_delay_s):
            await self._poll_iteration()

    async def _begin(self) -> None:
        await store.until_available(self._leases.renew)
        self._bell_task = self._helper(self._bell.listen())
        control = listen_to_control(self._listening, self.id, self._leases.obey)
        for work in (control, self._leases.keep(), *self._work_beside):
            self._helper(work)
        self._on_ready(self.id)

    def _helper(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._helpers.append(task)
        return task

    async def close(self) -> None:
        """Leave. arq's own would also delete its health key, and fail if Redis is away."""
        await tasks.end(*self._helpers)
        with contextlib.suppress(StoreUnavailable):  # The list forgets those that do not renew.
            await self._queue.leave(self.id)
        await self.pool.aclose(close_connection_pool=True)

    def handle_sig(self, signum: Signals) -> None:
        """First signal: drain. Second: hand everything back now."""
        if self._draining is None:
            self.allow_pick_jobs = False
            self._draining = self.loop.create_task(self._drain())
            logger.info("draining", running=len(self.tasks), seconds=self._settings.drain_seconds)
        else:
            self._stop_all(Stop.HANDOFF)

    async def _drain(self) -> None:
        # The bell first: whoever listens while handing back would claim its own jobs again.
        if self._bell_task is not None:
            await tasks.end(self._bell_task)
            # Twice: Redis may not know yet that who listened here has gone, and give it the first.
            await self._bell.pass_on()
            await self._bell.pass_on()
        async with self._claiming:
            pass  # What is being claimed has to be handed back, too, also if the reply was lost.
        if self._unanswered:
            with contextlib.suppress(StoreUnavailable):
                await self._claim(0)
        await self._tasks_done(self._settings.drain_seconds)
        self._stop_all(Stop.HANDOFF)
        await self._tasks_done(GOODBYE_SECONDS)
        await tasks.end(*self.tasks.values())
        self.tasks.clear()
        if self.main_task is not None:
            self.main_task.cancel()

    async def _tasks_done(self, seconds: float) -> None:
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=seconds)

    def _stop_all(self, why: Stop) -> None:
        for attempt in self._leases.attempts():
            attempt.stop(why)

    # Claiming

    async def _poll_iteration(self) -> None:
        """Claim for all free slots, then wait until another claim may bring something.

        Without a free slot, too: a claim first returns lapsed leases, for others to claim.
        """
        self._wake.clear()
        self._reap()
        free = self._free_slots()
        wait: float | None = None
        if self.allow_pick_jobs:
            try:
                wait = await self._claim(free)
            except StoreUnavailable:
                await asyncio.sleep(ASK_AGAIN_SECONDS)
                return
        # Full: what ripens is for others.
        seconds = min(wait, LOOK_SECONDS) if free and wait is not None else LOOK_SECONDS
        await tasks.happens(self._wake, seconds)

    async def _claim(self, slots: int) -> float | None:
        """Begin as many attempts. Returns after how many seconds another claim may bring more."""
        async with self._claiming:
            asked_at, self._unanswered = time.monotonic(), True
            claims = await self._queue.claim(self.id, slots, running=len(self.tasks), ticket=self._ticket)
            self._ticket, self._unanswered = new_ticket(), False
            for claim in claims.jobs:
                self._start(claim, asked_at)
        return claims.wait_seconds

    def _free_slots(self) -> int:
        # A task that is done keeps no slot, also before it is reaped.
        running = sum(not task.done() for task in self.tasks.values())
        return 0 if self._solitude.holds else self.max_jobs - running

    def _make_room(self) -> None:
        self._wake.set()
        self._bell.room.set()

    def _reap(self) -> None:
        for name, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[name]
                task.result()
        for helper in self._helpers:
            if helper.done() and not helper.cancelled():
                helper.result()

    def _start(self, claim: Claim, asked_at: float) -> None:
        attempt = self._new_attempt(claim)
        if not self.tasks:
            self._solitude.begin(attempt)
        self._leases.hold(attempt, since=asked_at)
        if not self.allow_pick_jobs:
            attempt.stop(Stop.HANDOFF)  # The signal came while the claim was on its way.
        task = self.loop.create_task(self._run(claim, attempt))
        task.add_done_callback(lambda _: self._make_room())
        # By fence too: a job that this worker lost may come back to it before the old attempt has gone.
        self.tasks[f"{claim.job_id} {claim.fence}"] = task

    # Running

    async def _run(self, claim: Claim, attempt: Attempt) -> None:
        """arq's envelope says which function with which arguments; ours has one, with the job's id."""
        name, args, kwargs, _, _ = deserialize_job_raw(claim.envelope, deserializer=self.job_deserializer)
        log = logger.bind(job=claim.job_id, attempt=claim.record.attempt)
        log.info("attempt begins", reason=claim.record.reason)
        try:
            outcome = await self.functions[name].coroutine({**self.ctx, "attempt": attempt}, *args, **kwargs)
            log.info("attempt is over", outcome=_word(outcome))
        except Exception as error:
            # Its lease is no longer renewed, so the job comes back; after two such ends it is failed.
            log.error("attempt broke down", error=type(error).__name__)
        finally:
            self._leases.release(attempt)
            self._solitude.end(attempt)

    @staticmethod
    async def _generate(ctx: dict[Any, Any], job_id: str) -> Any:
        return await ctx["attempt"].run()


def _word(outcome: Any) -> str:
    """What is logged of an outcome: never its content."""
    if isinstance(outcome, dict):
        code = outcome.get("error", {}).get("code")
        return f"{outcome['type']}: {code}" if code else str(outcome["type"])
    return outcome.value if isinstance(outcome, Stop) else "retry"
