"""One attempt at a job: open its log, copy the model's deltas into it, end it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from contextlib import aclosing
from enum import StrEnum
from typing import Literal

import structlog

from tokentail.shared import endings, events
from tokentail.shared import redis as store
from tokentail.shared.claim import Claim
from tokentail.shared.errors import ModelError, Superseded
from tokentail.shared.events import Completed, Delta, Ending, Error, Event, Usage, error
from tokentail.shared.fold import Fold
from tokentail.shared.log import Entry, Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.worker import retry
from tokentail.worker.appender import Appender
from tokentail.worker.limits import Limits
from tokentail.worker.model import Finish, Generation, Models
from tokentail.worker.refusal import refusal
from tokentail.worker.retry import Retry
from tokentail.worker.writer import Writer

logger = structlog.get_logger()

#: A log without an ending lives this much longer than its job may. Normally it never gets there; it is
#: what keeps a log from staying for ever whose job was deleted while its dead owner was writing.
ORPHAN_SECONDS = 3600.0

NO_MEMORY = error("internal", "Redis had no memory for more of the answer.", retryable=True)
TOO_LONG = error("output_too_long", "The answer is longer than this server stores.", retryable=False)


class Stop(StrEnum):
    """Why an attempt is told to stop before its model has finished."""

    #: Somebody asked for the job's end, and this attempt writes it.
    CANCEL = "cancel"
    #: The worker drains: the job goes back to the queue.
    HANDOFF = "handoff"
    #: The job is no longer this attempt's: write nothing, finish nothing.
    LOST = "lost"
    #: The job was deleted: the same, and what was written goes too.
    GONE = "gone"
    #: Redis has no memory for more of its log.
    FULL = "full"


class Attempt:
    """One claimed job in this process. `run` it once; `stop` it from outside at any time."""

    def __init__(
        self,
        claim: Claim,
        *,
        queue: Queue,
        logs: Logs,
        appender: Appender,
        models: Models,
        settings: Settings,
    ) -> None:
        self.claim = claim
        self._queue = queue
        self._logs = logs
        self._appender = appender
        self._models = models
        self._settings = settings
        self._limits = Limits(claim, settings)
        self._fold = Fold()
        self._generation: Generation | None = None
        self._task: asyncio.Task[Ending | Retry] | None = None
        self._stopped: Stop | None = None
        self._writer: Writer | None = None
        #: The highest fence that was found in the log, if that is not ours.
        self._floor = 0
        #: Called once when the model has said something.
        self.on_first_delta: Callable[[], None] | None = None

    @property
    def has_spoken(self) -> bool:
        """Whether the model has said something in this attempt."""
        return self._limits.first_delta_ms is not None

    async def run(self) -> Ending | Retry | Stop:
        """Make the attempt. Returns how it went; LOST also when a newer attempt got in between."""
        try:
            outcome = await self._make()
        except Superseded as newer:
            self._floor = newer.fence
            outcome = Stop.LOST
        finally:
            if self._writer is not None:
                self._appender.close(self._writer)
        if outcome is Stop.LOST:
            # Redis was away, or we were, and not because of this job: it must not be taken for a crash.
            await self._hand_back("lost")
        return outcome

    async def _make(self) -> Ending | Retry | Stop:
        if self._stopped is Stop.LOST:
            return Stop.LOST  # Before it could begin.
        opened = await self._open()
        if isinstance(opened, Entry):
            return await self._adopt(opened)
        self._writer = opened
        opened.on_lost = lambda: self.stop(Stop.LOST)
        opened.on_full = lambda: self.stop(Stop.FULL)
        return await self._conclude(await self._generate())

    def stop(self, why: Stop) -> None:
        """Stop generating and close the provider's connection. The first reason stands, but for two that
        overrule any other: that the job is not ours any more, or gone."""
        first = self._stopped is None
        if first or why in (Stop.LOST, Stop.GONE):
            self._stopped = why
        # Once only: a second cancellation would land in the clean-up after the first.
        if first and self._task is not None:
            self._task.cancel()

    # Opening

    async def _open(self) -> Writer | Entry:
        record = self.claim.record
        opening: Event = {"type": "attempt", "attempt": record.attempt, "reason": record.reason}
        # Redis removes at once what is to expire in the past.
        ttl = max(0.0, self._limits.remaining_seconds()) + self._settings.log_ttl_seconds + ORPHAN_SECONDS
        return await self._appender.open(self.claim.job_id, self.claim.fence, opening, ttl_seconds=ttl)

    async def _adopt(self, ending: Entry) -> Ending:
        """An earlier attempt ended the log and died before it could finish the job: only finish."""
        claim = self.claim
        await store.until_available(
            lambda: endings.record_ending(self._queue, self._logs, claim.job_id, claim.fence, ending)
        )
        return ending.event()  # type: ignore[return-value]

    # Generating

    async def _generate(self) -> Ending | Retry | Stop:
        if (ending := refusal(self.claim, self._limits.remaining_seconds())) is not None:
            record = self.claim.record
            if record.poison:
                logger.warning("dead letter", job=record.id, crashes=record.crashes, lost=record.lost_workers)
            return ending
        if self._stopped is not None:
            return self._stopped
        self._task = asyncio.create_task(self._copy())
        try:
            return await self._task
        except (Exception, asyncio.CancelledError) as bug:
            if isinstance(bug, asyncio.CancelledError):
                if self._stopped is not None:
                    return self._stopped
                if (this := asyncio.current_task()) is not None and this.cancelling():
                    raise  # It is us who are being cancelled, not the copying.
            # A bug, ours or a library's; the job must end all the same. Where it happened may be logged,
            # its text not: it may quote the prompt. A cancellation that nobody asked for is one, too, and
            # would end the whole worker.
            place = "".join(traceback.format_tb(bug.__traceback__))
            logger.error("attempt broke", job=self.claim.job_id, error=type(bug).__name__, at=place)
            return self._failed(error("internal", "tokentail made a mistake.", retryable=True))

    async def _copy(self) -> Ending | Retry:
        """Copy the model's deltas into the log until it finishes or fails."""
        claim = self.claim
        assert claim.request is not None and self._writer is not None  # noqa: S101, PT018
        self._generation = self._models.chat(
            claim.request["call"], job_id=claim.job_id, attempt=claim.record.tries + 1
        )
        try:
            async with self._limits.watch(), aclosing(self._generation) as generation:
                async for item in generation:
                    if self._stopped is not None:
                        raise asyncio.CancelledError  # Ours was swallowed on its way.
                    if isinstance(item, Finish):
                        return self._completed(item)
                    self._take(item)
                    if self._is_too_long():
                        return self._failed(TOO_LONG)
                    if not self._writer.has_room:
                        with self._limits.waiting():
                            await self._writer.room()
        except ModelError as failure:
            outcome = retry.decide(
                failure,
                claim,
                self._settings,
                remaining_seconds=self._limits.remaining_seconds(),
                streamed=self.has_spoken,
                has_other=self._models.has_other(claim.record.model),
            )
            return outcome if isinstance(outcome, Retry) else self._failed(outcome)
        raise AssertionError("a generation ends with Finish or ModelError")

    def _take(self, delta: Delta) -> None:
        first = not self.has_spoken
        self._limits.delta()
        if first and self.on_first_delta is not None:
            self.on_first_delta()
        assert self._writer is not None  # noqa: S101
        # First what can fail: an event that can't be written must not be in the result either.
        self._writer.append(delta)
        self._fold.add(delta)

    def _is_too_long(self) -> bool:
        return self._writer is not None and self._writer.log_bytes > self._settings.max_log_bytes

    # Ending

    def _completed(self, finish: Finish) -> Completed:
        return {
            "type": "completed",
            "finish_reason": finish.finish_reason,
            "usage": finish.usage,
            "cost_usd": finish.cost_usd,
            "timings": self._limits.timings(),
        }

    def _failed(self, why: Error) -> Ending:
        return events.failed(why, self._usage())

    def _cancelled(self) -> Ending:
        return events.cancelled(self._usage())

    def _usage(self) -> Usage | None:
        return self._generation.usage_so_far() if self._generation is not None else None

    async def _conclude(self, outcome: Ending | Retry | Stop) -> Ending | Retry | Stop:
        """Do what the outcome asks for; a job that is to be cancelled is not handed back but ended."""
        assert self._writer is not None  # noqa: S101
        if outcome is Stop.GONE:
            self._appender.close(self._writer)  # Or it could write the log anew.
            await store.until_available(lambda: self._logs.delete(self.claim.job_id))
        elif outcome is Stop.HANDOFF or isinstance(outcome, Retry):
            # What was said stands in the log, also if the job is cancelled before another attempt voids it.
            await self._writer.flushed()
            if isinstance(outcome, Retry):
                answer = await self._hand_back("retry", outcome.delay_seconds)
            else:
                answer = await self._hand_back("handoff")
            if answer == "cancel":
                return await self._end(self._cancelled())
        elif outcome is Stop.CANCEL:
            return await self._end(self._cancelled())
        elif outcome is Stop.FULL:
            return await self._end(self._failed(NO_MEMORY))
        elif not isinstance(outcome, Stop):
            return await self._end(outcome)
        return outcome

    async def _hand_back(self, reason: Literal["retry", "handoff", "lost"], delay_seconds: float = 0) -> str:
        claim = self.claim
        return await store.until_available(
            lambda: self._queue.hand_back(claim.job_id, claim.fence, reason, delay_seconds, floor=self._floor)
        )

    async def _end(self, ending: Ending) -> Ending | Stop:
        """Write the ending into the log, then into the record. A crash in between is healed by whoever
        looks next; an answer that is lost is asked for again, for this write may not be lost."""
        assert self._writer is not None  # noqa: S101
        claim = self.claim
        # What Redis had no memory for is missing: whatever the model thought, that is not complete.
        instead = self._failed(NO_MEMORY) if ending["type"] == "completed" else ending
        entry = await self._appender.end(
            self._writer, ending, instead=instead, ttl_seconds=self._settings.log_ttl_seconds
        )
        if entry.cursor.fence != claim.fence or self._writer.full:
            return await self._adopt(entry)  # The log knows better than we what was said.
        self._fold.add(ending)
        result = self._fold.result()
        answer = await store.until_available(
            lambda: self._queue.finish(claim.job_id, claim.fence, entry.cursor, ending, result)
        )
        if answer == "gone":
            await store.until_available(lambda: self._logs.delete(claim.job_id))
            return Stop.GONE
        return ending if answer == "finished" else Stop.LOST
