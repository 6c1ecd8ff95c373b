"""Who keeps others out, and whose end lets them in again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from given import claimed, enqueued, lapse
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.claim import Claim
from tokentail.shared.queue import Queue
from tokentail.worker import solitude as solitude_module
from tokentail.worker.solitude import Solitude


class SilentAttempt:
    """An attempt whose model never says anything."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.on_first_delta: Any = None


async def a_suspect(queue: Queue, redis: Redis, crashes: int) -> SilentAttempt:
    record = await enqueued(queue)
    await claimed(queue, "dead")
    await redis.hset(keys.record(record.id), "crashes", crashes - 1)
    await lapse(redis, record.id)
    return SilentAttempt(await claimed(queue))


async def test_the_probation_of_one_that_has_ended_lets_nobody_join_the_next(
    queue: Queue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solitude_module, "PROBATION_SECONDS", {1: 0.01})
    # Given a suspect that has ended before its probation, and another one that stays alone to its end
    solitude = Solitude(lambda: None)
    first, second = [await a_suspect(queue, redis, crashes) for crashes in (1, 3)]
    solitude.begin(first)  # type: ignore[arg-type]
    solitude.end(first)  # type: ignore[arg-type]
    assert not solitude.holds
    solitude.begin(second)  # type: ignore[arg-type]
    # When the first one's probation would be over
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, over.set)
    await over.wait()
    # Then the second one is still alone
    assert solitude.holds
    solitude.end(second)  # type: ignore[arg-type]
    assert not solitude.holds
