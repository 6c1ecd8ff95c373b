"""A provider's connection does not outlive the interest in its answer."""

from __future__ import annotations

import asyncio
import time

import pytest
from asking import Answer, Provider, Serve, ask, asked, take

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: The promise is 200 ms from cancel to closed connection, worker and queue included.
_AT_ONCE_SECONDS = 0.2


async def _cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _closed_at_once(provider: Provider) -> None:
    asked_at = time.monotonic()
    await provider.until_idle()
    request = await provider.last_request()
    assert request["state"] == "client_closed"
    assert request["ended_monotonic"] - asked_at < _AT_ONCE_SECONDS


async def test_leaving_an_answer_half_read_closes_its_connection(serve: Serve, provider: Provider) -> None:
    # When an answer that would go on for ever is left after two deltas,
    await take(Answer(serve("hang").chat(asked("it"), job_id="job_1", attempt=1)), deltas=2)
    # Then the provider sees the connection close.
    await _closed_at_once(provider)


@pytest.mark.parametrize("scenario", ["hang", "hang?comments=1", "counted?tokens=1000&pace_ms=20"])
async def test_cancelling_in_the_middle_closes_the_connection(
    serve: Serve, provider: Provider, scenario: str
) -> None:
    # Given an answer that is being read
    answer = Answer(serve(scenario).chat(asked("it"), job_id="job_1", attempt=1))
    task = asyncio.create_task(take(answer))
    await provider.until(lambda stats: stats["requests"] and stats["requests"][-1]["tokens"] >= 3)
    # When its task is cancelled,
    await _cancelled(task)
    # Then the provider sees the connection close.
    await _closed_at_once(provider)


@pytest.mark.parametrize("head", ["1", "0"])
async def test_cancelling_before_the_first_token_closes_the_connection(
    serve: Serve, provider: Provider, head: str
) -> None:
    # Given a request whose answer has not begun, with or without its response's head
    answer = Answer(serve(f"hang-first?head={head}").chat(asked("it"), job_id="job_1", attempt=1))
    task = asyncio.create_task(take(answer))
    await provider.until(lambda stats: stats["open_streams"] == 1)
    # When its task is cancelled,
    await _cancelled(task)
    # Then the provider sees the connection close.
    await _closed_at_once(provider)


# litellm prepares a request in a thread; one that is cancelled meanwhile is dropped before it is sent.
@pytest.mark.filterwarnings("ignore:coroutine .*async_streaming. was never awaited:RuntimeWarning")
async def test_cancelling_at_any_moment_leaves_no_connection_open(serve: Serve, provider: Provider) -> None:
    models = serve("hang")
    await take(Answer(models.chat(asked("it"), job_id="job_1", attempt=1)), deltas=1)
    # When requests are cancelled after 0, 0.3, 0.6 … 12 ms, wherever that finds them,
    for step in range(40):
        task = asyncio.create_task(take(Answer(models.chat(asked("it"), job_id="job_1", attempt=1))))
        await asyncio.wait({task}, timeout=step * 0.0003)
        await _cancelled(task)
    # Then none of them is still being answered.
    await provider.until_idle()


async def test_closing_twice_or_without_beginning_does_nothing(serve: Serve, provider: Provider) -> None:
    generation = serve("fast").chat(asked("it"), job_id="job_1", attempt=1)
    await generation.aclose()
    await generation.aclose()
    assert (await provider.stats())["started"] == 0


async def test_a_connection_is_used_again_after_a_whole_answer(serve: Serve, provider: Provider) -> None:
    models = serve("fast")
    await ask(models)
    # Given one connection of a worker, and the one that asks for these figures
    before = (await provider.stats())["open_connections"]
    # When ten more answers are read,
    for _ in range(10):
        await ask(models)
    # Then there are no more connections.
    assert (await provider.stats())["open_connections"] == before


async def test_what_was_used_is_known_after_a_cancellation(serve: Serve, provider: Provider) -> None:
    # Given an answer of which 3 tokens have come
    answer = Answer(serve("hang?after=3").chat(asked("it"), job_id="job_1", attempt=1))
    await take(answer, deltas=3)
    # Then its usage is an estimate of about that.
    usage = answer.generation.usage_so_far()
    assert usage["source"] == "estimated"
    assert 3 <= usage["completion_tokens"] <= 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
