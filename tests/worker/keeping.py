"""Leases that are kept, and attempts that only remember what they were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tokentail.shared import tasks
from tokentail.shared.claim import Claim
from tokentail.worker.attempt import Stop
from tokentail.worker.leases import Leases


class ToldAttempt:
    """`told_at`: when (monotonic) it was first told to stop."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.stops: list[Stop] = []
        self.told_at = 0.0

    def stop(self, why: Stop) -> None:
        self.told_at = self.told_at or time.monotonic()
        self.stops.append(why)


def hold(leases: Leases, claim: Claim, *, seconds_ago: float = 0.0) -> ToldAttempt:
    attempt = ToldAttempt(claim)
    leases.hold(attempt, since=time.monotonic() - seconds_ago)  # type: ignore[arg-type]
    return attempt


@asynccontextmanager
async def kept(leases: Leases) -> AsyncIterator[asyncio.Task[None]]:
    """Leases with a heart that beats. A heart that stops by itself fails the test."""
    keeping = asyncio.create_task(leases.keep())
    try:
        yield keeping
    finally:
        await tasks.end(keeping)
        if not keeping.cancelled():
            keeping.result()


def be_busy(seconds: float) -> None:
    """Keep this thread's event loop from anything else with Python code."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))
