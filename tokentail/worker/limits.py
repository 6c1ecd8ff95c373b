"""The three clocks of an attempt: first token, idle, and the job's deadline."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from tokentail.shared.claim import Claim
from tokentail.shared.errors import ModelError
from tokentail.shared.events import Timings
from tokentail.shared.settings import Settings

#: The idle clock is set forward at most this often, and runs this much longer for it: moving a timer at
#: each token costs more than the token.
SLACK_SECONDS = 0.25


class Limits:
    """Measures one attempt. Redis's clock says when the job was made, our monotonic one what passed since
    the claim, so a host's wall clock never counts."""

    def __init__(self, claim: Claim, settings: Settings) -> None:
        self._record = claim.record
        self._settings = settings
        self._claimed_ms = claim.now
        self._claimed_at = time.monotonic()
        self._timer: asyncio.Timeout | None = None
        self._moved_at = 0.0
        #: Whether the timer is set for the deadline: asking the clock when it fires would not do, for a loop
        #: may fire a timer a little early.
        self._is_deadline = False
        #: From submit to this attempt's first delta; None before.
        self.first_delta_ms: int | None = None

    def now_ms(self) -> int:
        """The time by Redis's clock."""
        return self._claimed_ms + int((time.monotonic() - self._claimed_at) * 1000)

    def remaining_seconds(self) -> float:
        """Until the job's deadline; negative behind it."""
        return (self._record.deadline - self.now_ms()) / 1000

    def timings(self) -> Timings:
        """What the completed event says, as of now."""
        created = self._record.created
        return {
            "queued_ms": self._record.started - created,
            "first_delta_ms": self.first_delta_ms,
            "total_ms": self.now_ms() - created,
        }

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Raises ModelError inside the block's end when one of the three clocks has run out."""
        loop = asyncio.get_running_loop()
        first = loop.time() + self._next(self._settings.first_token_seconds)
        try:
            async with asyncio.timeout_at(first) as self._timer:
                yield
        except TimeoutError:
            raise self._ran_out() from None

    def delta(self) -> None:
        """The model has said something."""
        if self.first_delta_ms is None:
            self.first_delta_ms = self.now_ms() - self._record.created
        if time.monotonic() - self._moved_at > SLACK_SECONDS:
            self._move(self._settings.idle_seconds + SLACK_SECONDS)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While it is not the model that is waited for, only the deadline counts."""
        self._move(math.inf)
        yield  # If it raises, nothing is waited for any more.
        self._move(self._settings.idle_seconds + SLACK_SECONDS)

    def _move(self, seconds: float) -> None:
        if self._timer is not None:
            self._moved_at = time.monotonic()
            self._timer.reschedule(asyncio.get_running_loop().time() + self._next(seconds))

    def _next(self, seconds: float) -> float:
        """How long the timer has to run: so long, or until the deadline if that comes first."""
        remaining = self.remaining_seconds()
        self._is_deadline = remaining <= seconds
        return min(seconds, remaining)

    def _ran_out(self) -> ModelError:
        settings = self._settings
        if self._is_deadline:
            return ModelError("deadline_exceeded", "The job ran past its deadline.", retryable=False)
        if self.first_delta_ms is None:
            sentence = f"The model said nothing within {settings.first_token_seconds:g} s."
            return ModelError("first_token_timeout", sentence, retryable=True)
        sentence = f"The model fell silent for {settings.idle_seconds:g} s."
        return ModelError("idle_timeout", sentence, retryable=True)
