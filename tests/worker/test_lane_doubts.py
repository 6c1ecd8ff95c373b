"""What a lane does when it comes into doubt while it is finding out about others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from given import PATIENCE_SECONDS, attempt, delta, eventually, written
from writing import FENCE, Desk, desk, expected, say

from tokentail.shared.log import Entry
from tokentail.worker.writer import Writer


@pytest.fixture
async def at(redis_url: str) -> AsyncIterator[Desk]:
    async with desk(redis_url) as made:
        yield made


async def test_a_log_that_comes_into_doubt_while_another_is_asked_about_is_asked_about_too(at: Desk) -> None:
    # Given an attempt that has said something, and another one in doubt
    writer, other = await at.begin(), await at.begin()
    say(writer, "ab")
    await writer.flushed()
    lane = writer.lane
    assert lane is not None
    ask, asked = lane._last_entries, []

    async def meanwhile(writers: list[Writer]) -> list[Entry | Exception | None]:
        answers = await ask(writers)
        if not asked:
            # When Redis forgets the end of the first one's log while it is asked about the other one's
            await at.redis.delete(writer.key)
            await written(at.redis, writer.job_id, FENCE, attempt(), delta("a"))
            say(writer, "c")
            lane.doubt([writer])
        asked.append(writers)
        return answers

    lane._last_entries = meanwhile  # type: ignore[method-assign]
    lane.doubt([other])
    await eventually(lambda: asked)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await writer.flushed()
    # Then there is no gap
    assert await at.log(writer) == expected(FENCE, "abc")
