"""Ending tasks for sure."""

from __future__ import annotations

import asyncio

from tokentail.shared import tasks


async def test_a_task_that_swallowed_its_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    task, other = asyncio.create_task(stubborn()), asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await tasks.end(task, other)
    assert swallowed == 2
    assert task.cancelled()
    assert other.cancelled()


async def test_how_a_task_ended_is_nobodys_concern_any_more() -> None:
    async def broken() -> None:
        raise ValueError

    task = asyncio.create_task(broken())
    await asyncio.wait([task])
    await tasks.end(task)
    await tasks.end()
    assert isinstance(task.exception(), ValueError)
