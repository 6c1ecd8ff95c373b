"""Which logs a process keeps, and which it lets go of."""

from __future__ import annotations

import asyncio

import pytest
from following import Client, tails_at
from given import attempt, completed, delta, eventually, written
from redis.asyncio import Redis

from tokentail.api import reader as reader_module
from tokentail.api.tails import Tails
from tokentail.shared.cursor import Cursor
from tokentail.shared.job import new_id

FENCE = 1_763_881_234_567
LONG_AGO = 10_000.0


async def a_log(redis: Redis, *more: object, length: int = 1) -> str:
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), delta("x" * length), *more)  # type: ignore[arg-type]
    return job_id


async def test_a_log_lingers_from_when_its_last_follower_left_not_from_when_it_began(
    tails: Tails, redis: Redis
) -> None:
    # Given a log that somebody has followed for long
    client = Client(tails, await a_log(redis))
    await client.saw(2)
    (tail,) = tails.all()
    tail.left_at -= LONG_AGO
    # Then it is there as long as it is followed, and for a while after that
    tails.forget_left()
    assert tails.all() == [tail]
    await client.gone()
    tails.forget_left()
    assert tails.all() == [tail]
    # And not for ever
    tail.left_at -= LONG_AGO
    tails.forget_left()
    assert tails.all() == []


async def test_a_log_that_was_followed_for_long_is_kept_for_those_who_come_after_its_ending(
    tails: Tails, redis: Redis
) -> None:
    # Given a log that somebody has followed for long
    client = Client(tails, await a_log(redis))
    await client.saw(2)
    (tail,) = tails.all()
    tail.left_at -= LONG_AGO
    # When it ends
    await written(redis, tail.job_id, FENCE, completed(), seq=2)
    await client.ended()
    # Then it is there for a while after that
    tails.forget_left()
    assert tails.all() == [tail]


async def test_a_log_that_has_ended_is_read_anew_after_a_while_however_many_come(
    tails: Tails, redis: Redis
) -> None:
    # Given a log with its ending, which was read long ago
    job_id = await a_log(redis, completed())
    await Client(tails, job_id).ended()
    (tail,) = tails.all()
    tails.forget_left()
    assert tails.all() == [tail]
    tail.left_at -= LONG_AGO
    # When it has expired, and somebody was there a moment ago
    await redis.delete(tail.key)
    await Client(tails, job_id).ended()
    tails.forget_left()
    # Then nobody is served from memory any more
    assert tails.all() == []


async def test_a_log_that_nobody_follows_any_more_is_read_no_more(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "LOOK_SECONDS", 3600.0)
    # Given two logs that are followed, of which one is then forgotten
    staying, leaving = Client(tails, await a_log(redis)), Client(tails, await a_log(redis))
    for client in (staying, leaving):
        await client.saw(2)
    await leaving.gone()
    tails.forget(leaving.follower.tail)
    await redis.config_resetstat()
    # When both go on
    for client in (leaving, staying):
        await written(redis, client.job_id, FENCE, delta("y"), seq=2)
    await staying.saw(3)
    # Then one is read
    assert (await redis.info("commandstats"))["cmdstat_xread"]["calls"] == 1


async def test_forgetting_twice_does_not_touch_what_was_begun_anew(tails: Tails, redis: Redis) -> None:
    # Given a log that was forgotten, and is followed again
    job_id = await a_log(redis)
    await Client(tails, job_id).saw(2)
    (old,) = tails.all()
    tails.forget(old)
    again = Client(tails, job_id)
    await again.saw(2)
    (tail,) = tails.all()
    # When the old one is forgotten once more
    tails.forget(old)
    # Then the new one is there and goes on
    assert tails.all() == [tail]
    await written(redis, tail.job_id, FENCE, delta("y"), seq=2)
    await again.saw(3)


async def test_a_log_that_is_followed_again_is_not_the_first_to_go(redis_url: str, redis: Redis) -> None:
    jobs = [await a_log(redis, completed(), length=4000) for _ in range(3)]
    # Given room for two logs, and two
    async with tails_at(redis_url, max_bytes=16_000) as tails:
        for job_id in jobs[:2]:
            await Client(tails, job_id).ended()
        # When the first is followed again, and then a third one
        for job_id in (jobs[0], jobs[2]):
            await Client(tails, job_id).ended()
        # Then the second has gone
        assert [tail.job_id for tail in tails.all()] == [jobs[0], jobs[2]]


async def test_a_client_that_leaves_by_any_way_is_told_nothing_more(tails: Tails, redis: Redis) -> None:
    job_id = await a_log(redis)
    leaving, staying = Client(tails, job_id), Client(tails, job_id)
    await leaving.saw(2)
    await staying.saw(2)
    # When one is made to leave while its connection is there
    tails.leave(leaving.follower)
    # Then it hears nothing more, and its connection may serve other requests
    assert leaving.sink.listener is None
    await written(redis, job_id, FENCE, delta("y"), seq=2)
    await staying.saw(3)
    assert len(leaving.events) == 2


async def test_who_comes_with_a_strange_cursor_does_not_wait_for_the_next_word(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log that is silent, and read only when it is not
    monkeypatch.setattr(reader_module, "LOOK_SECONDS", 3600.0)
    job_id = await a_log(redis)
    await Client(tails, job_id).saw(2)
    # When somebody comes with a cursor that was never in it; Then it is told so
    await Client(tails, job_id, Cursor(1, 1)).saw(3)


async def test_who_comes_to_an_ended_log_with_a_strange_cursor_costs_redis_nothing(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "LOOK_SECONDS", 3600.0)
    # Given an ended log in memory, and another one that is watched
    job_id = await a_log(redis, completed())
    await Client(tails, job_id).ended()
    await Client(tails, await a_log(redis)).saw(2)
    await redis.config_resetstat()
    # When somebody comes with a cursor that was never in it
    assert len(await Client(tails, job_id, Cursor(1, 1)).ended()) == 4
    await asyncio.sleep(0)
    # Then nothing was read for that
    assert "cmdstat_xread" not in await redis.info("commandstats")


async def test_who_comes_to_a_job_that_waits_costs_redis_nothing_when_others_follow_it(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "LOOK_SECONDS", 3600.0)
    # Given a follower of a job of which nothing is said yet
    first = Client(tails, new_id())
    await eventually(lambda: first.follower.tail.is_loaded)
    await redis.config_resetstat()
    # When others come; Then nothing is read for that
    second = Client(tails, first.job_id)
    assert second.follower.tail.is_loaded
    await asyncio.sleep(0)
    assert "cmdstat_xread" not in await redis.info("commandstats")
    # And they are told what is said
    await written(redis, first.job_id, FENCE, attempt())
    await first.saw(1)
    await second.saw(1)


async def test_a_cursor_on_a_later_page_is_no_strange_one(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "PAGE", 2)
    job_id = await a_log(redis, delta("y"), delta("z"), completed())
    events = await Client(tails, job_id, Cursor(FENCE, 3)).ended()
    assert [event_id for event_id, _ in events] == [f"{FENCE}-4"]


async def test_a_process_that_nobody_asks_anything_keeps_no_connection_for_reading(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connections() -> int:
        return int((await redis.info("clients"))["connected_clients"])

    monkeypatch.setattr(reader_module, "IDLE_SECONDS", 0.05)
    before = await connections()
    # Given a log that was followed, and is kept for nobody any more
    client = Client(tails, await a_log(redis))
    await client.saw(2)
    assert await connections() > before
    await client.gone()
    tails.forget(tails.all()[0])

    async def is_as_before() -> bool:
        return await connections() <= before

    await eventually(is_as_before)
    # And it is no worse for who comes then
    await Client(tails, await a_log(redis)).saw(2)


async def test_a_log_that_has_ended_is_kept_but_read_no_more(tails: Tails, redis: Redis) -> None:
    client = Client(tails, await a_log(redis, completed()))
    await client.ended()
    (tail,) = tails.all()
    (reader,) = tails._readers
    assert not reader.watches(tail)
