"""What followers are told while this process has not read yet what others know to be in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from following import MAX_BYTES, Client
from given import at_work, attempt, completed, delta, eventually, written
from redis.asyncio import Redis
from sink import Sink

from tokentail.api.follower import Follower
from tokentail.api.tails import Tails
from tokentail.api.tracking import Tracking
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id
from tokentail.shared.log import PAGE
from tokentail.shared.one_server import OneServer

FENCE = 1_763_881_234_567


@pytest.fixture
def job_id() -> str:
    return new_id()


@pytest.fixture
async def plane(redis_url: str) -> AsyncIterator[OneServer]:
    async with OneServer(redis_url) as made:
        yield made


@pytest.fixture
def tails(plane: OneServer) -> Tails:
    return Tails(plane, max_bytes=MAX_BYTES)


async def loaded(tails: Tails, job_id: str) -> Follower:
    """A follower that has been told all there is, and keeps the log watched; the reader then stops."""
    client = Client(tails, job_id)
    async with at_work(tails.run()):
        await eventually(lambda: client.follower.tail.is_loaded)
    return client.follower


async def told(client: Client, words: bytes) -> bytes:
    """All that a client has been told, once these words are in it."""
    await eventually(lambda: words in client.raw)
    return client.raw


async def test_a_cursor_that_is_ahead_of_what_was_read_here_is_no_reason_to_reset(
    tails: Tails, redis: Redis, job_id: str
) -> None:
    # Given a log that is watched, and entries in it that this process has not read
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    await loaded(tails, job_id)
    await written(redis, job_id, FENCE, delta("b"), delta("c"), seq=2)
    # When somebody comes who has seen one of them elsewhere
    client = Client(tails, job_id, Cursor(FENCE, 2))
    async with at_work(tails.run()):
        said = await told(client, b'"content":"c"')
    # Then it goes on behind it
    assert b"event: reset" not in said
    assert b'"content":"c"' in said
    assert b'"content":"b"' not in said


async def test_a_cursor_that_is_not_there_after_another_look_is_reset(
    tails: Tails, redis: Redis, job_id: str
) -> None:
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    await loaded(tails, job_id)
    client = Client(tails, job_id, Cursor(FENCE, 9))
    async with at_work(tails.run()):
        await told(client, b"event: reset")


async def test_an_answer_to_an_older_question_does_not_make_a_cursor_doubtful(
    tails: Tails, redis: Redis, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a read that was answered, and then somebody who has seen a newer entry elsewhere
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    await loaded(tails, job_id)
    ask, came = Tracking.ask, []

    async def ask_then_let_somebody_come(tracking, commands, count=1):
        answer = await ask(tracking, commands, count)
        if b"XREAD" in commands and not came:
            await written(redis, job_id, FENCE, {"type": "delta"}, seq=2)
            came.append(Client(tails, job_id, Cursor(FENCE, 2)))
        return answer

    monkeypatch.setattr(Tracking, "ask", ask_then_let_somebody_come)
    Client(tails, new_id())
    async with at_work(tails.run()):
        await eventually(lambda: came and came[0].follower.tail.is_loaded)
        # Then it waits for what comes behind that entry
        await written(redis, job_id, FENCE, delta("c"), seq=3)
        said = await told(came[0], b'"content":"c"')
    assert b"event: reset" not in said
    assert b'"content":"c"' in said


async def test_the_first_answer_of_all_answers_nobody_who_came_while_it_was_on_its_way(
    tails: Tails, redis: Redis, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the first read of a log, and somebody who comes while its answer is on its way
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    Client(tails, job_id)
    ask, came = Tracking.ask, []

    async def ask_then_let_somebody_come(tracking, commands, count=1):
        answer = await ask(tracking, commands, count)
        if b"XREAD" in commands and not came:
            # And who has seen a newer entry elsewhere
            await written(redis, job_id, FENCE, {"type": "delta"}, seq=2)
            came.append(Client(tails, job_id, Cursor(FENCE, 2)))
        return answer

    monkeypatch.setattr(Tracking, "ask", ask_then_let_somebody_come)
    async with at_work(tails.run()):
        await eventually(lambda: came and came[0].follower.tail.is_loaded)
        await written(redis, job_id, FENCE, delta("c"), seq=3)
        said = await told(came[0], b'"content":"c"')
    # Then it is not told to forget that
    assert b"event: reset" not in said
    assert b'"content":"c"' in said


async def test_a_log_that_was_empty_when_last_read_is_looked_at_again_before_it_is_called_gone(
    tails: Tails, redis: Redis, job_id: str
) -> None:
    # Given a queued job that is followed, and that ended without this process having read of it
    await loaded(tails, job_id)
    await written(redis, job_id, FENCE, completed())
    client = Client(tails, job_id)
    async with at_work(tails.run()):
        await told(client, b"event: completed")


async def test_an_unknown_cursor_is_reset_also_where_the_ending_fills_a_page(
    tails: Tails, redis: Redis, job_id: str
) -> None:
    await written(redis, job_id, FENCE, attempt(), *[delta("x")] * (PAGE - 2), completed())
    client = Client(tails, job_id, Cursor(1, 1))
    async with at_work(tails.run()):
        await told(client, b"event: reset")


async def test_followers_of_new_logs_do_not_keep_the_others_waiting(
    tails: Tails, redis: Redis, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process to which somebody comes, for another log, during each read
    (reader,) = tails._readers
    take, newest = reader._take, []

    def let_somebody_come(*answer):
        if newest:
            newest.pop().task.cancel()
        newest.append(Client(tails, new_id()))
        return take(*answer)

    monkeypatch.setattr(reader, "_take", let_somebody_come)
    client = Client(tails, job_id)
    async with at_work(tails.run()):
        await eventually(lambda: client.follower.tail.is_loaded)
        # When something is said in the log that is known already
        await written(redis, job_id, FENCE, attempt())
        # Then its follower hears of it
        await told(client, b"event: attempt")


async def test_a_log_whose_ending_was_not_read_here_yet_is_not_taken_for_expired(
    tails: Tails, redis: Redis, job_id: str
) -> None:
    # Given a log that is watched, and that ends while this process does not read
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    await loaded(tails, job_id)
    await written(redis, job_id, FENCE, completed(), seq=2)
    # When somebody comes who knows from the record that it has ended
    follower = tails.follow(job_id, START, Sink(), has_ended=True)
    known = asyncio.create_task(follower.known())
    await asyncio.sleep(0)
    # Then it is told nothing before the ending is known
    assert not known.done()
    async with at_work(tails.run()), asyncio.timeout(20):
        await known
    assert follower.tail.ended
