"""Ending tasks for sure, and waiting for a while."""

from __future__ import annotations

import asyncio
import contextlib

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


async def test_tasks_have_ended_also_when_whoever_ends_them_is_cancelled_meanwhile() -> None:
    # Given a task that needs a moment to clean up, and somebody who ends it
    cleaning, may_end = asyncio.Event(), asyncio.Event()

    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cleaning.set()
            while not may_end.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await may_end.wait()
            raise

    task = asyncio.create_task(careful())
    await asyncio.sleep(0)
    ending = asyncio.create_task(tasks.end(task))
    await cleaning.wait()
    # When that one is cancelled, twice
    for _ in range(2):
        ending.cancel()
        await asyncio.sleep(0)
    # Then it does not go before the task has
    assert not ending.done()
    may_end.set()
    await asyncio.wait([ending])
    assert ending.cancelled()
    assert task.cancelled()


async def test_an_event_is_waited_for_no_longer_than_one_wants() -> None:
    event = asyncio.Event()
    assert not await tasks.happens(event, within_seconds=0.01)
    # And what happens meanwhile, or has happened before, is known at once
    asyncio.get_running_loop().call_soon(event.set)
    async with asyncio.timeout(20):
        assert await tasks.happens(event, within_seconds=3600)
        assert await tasks.happens(event, within_seconds=3600)


async def test_who_waits_for_an_event_can_be_cancelled() -> None:
    waiting = asyncio.create_task(tasks.happens(asyncio.Event(), within_seconds=3600))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting], timeout=20)
    assert waiting.cancelled()
