"""One reader for all watched logs of a process, that loses nothing and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from following import Client, readers_block, told
from given import attempt, completed, delta, eventually, failed, written
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import reader as reader_module
from tokentail.api import tails as tails_module
from tokentail.api.tails import Tails
from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id

FENCE = 1_763_881_234_567
WORDS = [delta(str(n)) for n in range(10)]


async def test_resuming_from_every_cursor_is_the_rest_of_the_whole(tails: Tails, redis: Redis) -> None:
    # Given a log of two attempts that has ended
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), *WORDS)
    await written(redis, job_id, FENCE + 7, attempt(2, "lost"), *WORDS, completed())
    whole = await Client(tails, job_id).ended()
    assert whole == told(FENCE, attempt(), *WORDS) + told(FENCE + 7, attempt(2, "lost"), *WORDS, completed())
    # Then what a client gets that comes back with any id of it is the rest, with and without others there
    for _ in range(2):
        for index, (entry_id, _event) in enumerate(whole):
            assert await Client(tails, job_id, Cursor.parse(entry_id or "")).ended() == whole[index + 1 :]
        staying = tails.follow(job_id, START, Sink())
    tails.leave(staying)


async def test_many_clients_that_drop_and_resume_at_random_all_see_the_whole(
    tails: Tails, redis: Redis
) -> None:
    # Given a log that is being written
    job_id, dice = new_id(), random.Random(7)
    log = [attempt(), *(delta(str(n)) for n in range(300)), completed()]

    async def write() -> None:
        for seq, event in enumerate(log):
            await written(redis, job_id, FENCE, event, seq=seq)

    async def read() -> list[Any]:
        seen: list[Any] = []
        after = START
        while not seen or seen[-1][1]["type"] != "completed":
            client = Client(tails, job_id, after)
            for _ in range(dice.randrange(1, 40)):
                await asyncio.sleep(0)
            if dice.random() < 0.2:
                await asyncio.wait([client.task], timeout=dice.random() / 10)
            await client.gone()
            seen += client.events
            after = Cursor.parse(seen[-1][0]) if seen else START
        return seen

    readers = [asyncio.create_task(read()) for _ in range(50)]
    await write()
    async with asyncio.timeout(60):
        for reader in readers:
            assert await reader == told(FENCE, *log)


async def test_a_log_that_does_not_exist_yet_is_followed_from_its_first_entry(
    tails: Tails, redis: Redis
) -> None:
    job_id = new_id()
    client = Client(tails, job_id)
    await readers_block(redis)
    await written(redis, job_id, FENCE, attempt(), failed())
    assert await client.ended() == told(FENCE, attempt(), failed())


async def test_a_log_longer_than_a_page_is_read_to_its_end(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "PAGE", 4)
    job_id = new_id()
    log = [attempt(), *WORDS, completed()]
    assert len(log) % 4 == 0
    await written(redis, job_id, FENCE, *log)
    assert await Client(tails, job_id).ended() == told(FENCE, *log)
    assert await Client(tails, job_id, Cursor(FENCE, 10)).ended() == told(FENCE, *log)[11:]


@pytest.mark.parametrize("cursor", [Cursor(FENCE, 99), Cursor(FENCE - 5, 0), Cursor(FENCE + 5, 0)])
async def test_a_cursor_that_the_log_never_held_is_reset(tails: Tails, redis: Redis, cursor: Cursor) -> None:
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), completed())
    events = await Client(tails, job_id, cursor).ended()
    assert events == [
        (None, {"type": "reset", "requested": str(cursor)}),
        *told(FENCE, attempt(), completed()),
    ]


async def test_a_new_log_is_read_at_once_although_the_reader_blocks_on_others(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reader that blocks for long on a silent log
    monkeypatch.setattr(store, "BLOCK_SECONDS", 4.0)
    silent = Client(tails, new_id())
    await readers_block(redis)
    for _ in range(20):
        # When somebody follows another
        job_id = new_id()
        await written(redis, job_id, FENCE, attempt(), completed())
        async with asyncio.timeout(3):
            assert await Client(tails, job_id).ended() == told(FENCE, attempt(), completed())
        await readers_block(redis)
    await silent.gone()


async def test_live_entries_of_a_new_log_are_not_held_up_by_the_read_under_way(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BLOCK_SECONDS", 4.0)
    silent = Client(tails, new_id())
    await readers_block(redis)
    job_id = new_id()
    client = Client(tails, job_id)
    await eventually(lambda: client.follower.tail.is_loaded, within=3)
    await written(redis, job_id, FENCE, attempt(), completed())
    async with asyncio.timeout(3):
        assert await client.ended() == told(FENCE, attempt(), completed())
    await silent.gone()


async def test_a_reader_that_was_woken_for_a_new_log_is_left_in_peace_then(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reader that blocks, and is woken for the log of a job that waits in the queue
    monkeypatch.setattr(store, "BLOCK_SECONDS", 4.0)
    clients = [Client(tails, new_id())]
    await readers_block(redis)
    for _ in range(10):
        clients.append(Client(tails, new_id()))
        await eventually(lambda: clients[-1].follower.tail.is_loaded)
    # Then nobody goes on waking it
    (reader,) = tails._readers
    await eventually(lambda: reader._nudging is None or reader._nudging.done(), within=2)
    for client in clients:
        await client.gone()


async def test_jobs_do_not_mix(tails: Tails, redis: Redis) -> None:
    jobs = [new_id() for _ in range(20)]
    clients = [Client(tails, job_id) for job_id in jobs]
    for number in range(3):
        for job_id in jobs:
            await written(redis, job_id, FENCE, delta(f"{job_id}:{number}"), seq=number)
    for job_id in jobs:
        await written(redis, job_id, FENCE, completed(), seq=3)
    for job_id, client in zip(jobs, clients, strict=True):
        words = [delta(f"{job_id}:{number}") for number in range(3)]
        assert await client.ended() == told(FENCE, *words, completed())


async def test_a_process_holds_one_connection_for_all_its_followers(tails: Tails, redis: Redis) -> None:
    clients = [Client(tails, new_id()) for _ in range(50)]
    await readers_block(redis)
    assert (await redis.info("clients"))["blocked_clients"] == 1
    for client in clients:
        await client.gone()


async def test_those_who_come_back_at_once_cost_redis_nothing(tails: Tails, redis: Redis) -> None:
    # Given clients that have followed a log so far
    job_id = new_id()
    log = [attempt(), *WORDS]
    await written(redis, job_id, FENCE, *log)
    clients = [Client(tails, job_id) for _ in range(20)]
    for client in clients:
        await client.saw(len(log))
    await readers_block(redis)
    before = (await redis.info("commandstats")).get("cmdstat_xread", {}).get("calls", 0)
    # When all of them drop and come back, each from another place
    for client in clients:
        await client.gone()
    again = [Client(tails, job_id, Cursor(FENCE, number % len(log))) for number in range(20)]
    # Then they have what they missed at once
    for number, client in enumerate(again):
        assert client.events == told(FENCE, *log)[number % len(log) + 1 :]
    # And nothing was asked of Redis, and nobody began to read anew
    stats = await redis.info("commandstats")
    assert stats.get("cmdstat_xread", {}).get("calls", 0) == before
    assert len(tails.all()) == 1
    # And they hear what comes
    await written(redis, job_id, FENCE, completed(), seq=len(log))
    for client in again:
        assert (await client.ended())[-1][1] == completed()


async def test_a_log_that_has_ended_is_read_no_more_and_served_from_memory(
    tails: Tails, redis: Redis
) -> None:
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), completed())
    assert await Client(tails, job_id).ended() == told(FENCE, attempt(), completed())
    # When Redis no longer has it
    await redis.delete(keys.log(job_id))
    assert await Client(tails, job_id, Cursor(FENCE, 0)).ended() == told(FENCE, attempt(), completed())[1:]


async def test_a_log_that_is_kept_but_read_no_more_goes_on_when_somebody_comes_back(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log that nobody follows any more, which is kept and no longer read
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    client = Client(tails, job_id)
    await client.saw(2)
    await client.gone()
    monkeypatch.setattr(tails_module, "READ_ON_SECONDS", 0.0)
    (reader,) = tails._readers
    tails.forget_left()
    assert not reader._tails
    # When more is said, and somebody comes back
    await written(redis, job_id, FENCE, delta("b"), seq=2)
    again = Client(tails, job_id, Cursor(FENCE, 0))
    # Then what is held is there at once
    assert again.events == told(FENCE, attempt(), delta("a"))[1:]
    # And what was said meanwhile, and then, follows
    await again.saw(2)
    await written(redis, job_id, FENCE, completed(), seq=3)
    assert await again.ended() == told(FENCE, attempt(), delta("a"), delta("b"), completed())[1:]


async def test_leaving_twice_harms_nobody(tails: Tails) -> None:
    job_id = new_id()
    first, second = Client(tails, job_id), Client(tails, job_id)
    (tail,) = tails.all()
    for _ in range(2):
        tails.leave(first.follower)
    assert tail.followers == {second.follower}
    assert not second.follower.over.done()


async def test_a_log_that_is_forgotten_ends_who_still_follows_it(tails: Tails, redis: Redis) -> None:
    job_id = new_id()
    await written(redis, job_id, FENCE, attempt())
    client = Client(tails, job_id)
    await client.saw(1)
    (tail,) = tails.all()
    for _ in range(2):
        tails.forget(tail)
    assert await client.ended() == told(FENCE, attempt())
    # And who comes after that reads it anew
    await written(redis, job_id, FENCE, completed(), seq=1)
    assert await Client(tails, job_id).ended() == told(FENCE, attempt(), completed())


async def test_what_was_asked_for_a_forgotten_log_is_not_taken_for_its_successors(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log that is forgotten and followed anew while an answer for it is on its way
    job_id = new_id()
    (reader,) = tails._readers
    ask, came = reader._ask, []

    async def ask_then_begin_anew(*question: Any, **options: Any) -> Any:
        answer = await ask(*question, **options)
        if answer and tails.all()[0].end == 2 and not came:
            tails.forget(tails.all()[0])
            came.append(Client(tails, job_id))
        return answer

    monkeypatch.setattr(reader, "_ask", ask_then_begin_anew)
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    await Client(tails, job_id).saw(2)
    await written(redis, job_id, FENCE, delta("b"), seq=2)
    await eventually(lambda: came)
    await written(redis, job_id, FENCE, completed(), seq=3)
    # Then its follower is told the whole log
    assert await came[0].ended() == told(FENCE, attempt(), delta("a"), delta("b"), completed())
