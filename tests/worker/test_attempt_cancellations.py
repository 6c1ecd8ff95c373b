"""Cancellations that go astray below an attempt: one that nobody asked for, one that is swallowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from attempting import shop
from scripted import ScriptedGeneration, types

from tokentail.worker.attempt import Stop


async def test_a_cancellation_that_nobody_asked_for_ends_the_job_and_not_the_worker(
    redis_url: str,
) -> None:
    # Given a library that lets another task's cancellation out, as a shared name look-up may
    class Astray(ScriptedGeneration):
        async def _run(self, script: list[Any]) -> AsyncGenerator[Any]:
            yield {"type": "delta", "content": "Hi"}
            raise asyncio.CancelledError

    async with shop(redis_url, []) as at:
        at.models.chat = lambda *_, **__: Astray([])  # type: ignore[method-assign]
        attempt = await at.claimed()
        ending = await at.start(attempt)
        assert ending["error"]["code"] == "internal"
        assert types(await at.log(attempt)) == ["attempt", "Hi", "failed"]
        assert (await at.record(attempt)).status == "failed"


async def test_a_model_that_swallows_the_cancellation_is_stopped_at_its_next_word(redis_url: str) -> None:
    # Given a library that takes a cancellation for an event of its own, as `asyncio.wait_for` does
    class Deaf(ScriptedGeneration):
        async def _run(self, script: list[Any]) -> AsyncGenerator[Any]:
            try:
                yield {"type": "delta", "content": "Hi"}
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                while True:
                    yield {"type": "delta", "content": "still here"}
                    await asyncio.sleep(0)

    async with shop(redis_url, []) as at:
        at.models.chat = lambda *_, **__: Deaf([])  # type: ignore[method-assign]
        attempt = await at.claimed()
        run = at.start(attempt)
        await at.until_said(attempt, 1)
        attempt.stop(Stop.CANCEL)
        async with asyncio.timeout(20):
            ending = await run
        assert ending["type"] == "cancelled"
        assert types(await at.log(attempt)) == ["attempt", "Hi", "cancelled"]
