"""One reader for all watched logs of a process, that loses nothing and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from following import Client, told
from given import attempt, completed, delta, eventually, failed, written
from redis.asyncio import Redis
from sink import Sink

from tokentail.api import reader as reader_module
from tokentail.api import tails as tails_module
from tokentail.api.tails import Tails
from tokentail.shared import keys
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id

FENCE = 1_763_881_234_567
WORDS = [delta(str(n)) for n in range(10)]


@pytest.fixture
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No log is read unless something is known to have changed."""
    monkeypatch.setattr(reader_module, "LOOK_SECONDS", 3600.0)


async def reads(redis: Redis) -> int:
    """How many there were."""
    return int((await redis.info("commandstats")).get("cmdstat_xread", {}).get("calls", 0))


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
    await eventually(lambda: client.follower.tail.is_loaded)
    await written(redis, job_id, FENCE, attempt(), failed())
    assert await client.ended() == told(FENCE, attempt(), failed())


@pytest.mark.usefixtures("never_by_itself")
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


@pytest.mark.usefixtures("never_by_itself")
async def test_a_new_log_is_read_at_once_although_the_others_are_silent(tails: Tails, redis: Redis) -> None:
    # Given a reader that waits for a log to say something
    silent = Client(tails, new_id())
    await eventually(lambda: silent.follower.tail.is_loaded)
    for _ in range(20):
        # When somebody follows another
        job_id = new_id()
        await written(redis, job_id, FENCE, attempt(), completed())
        assert await Client(tails, job_id).ended() == told(FENCE, attempt(), completed())
    await silent.gone()


@pytest.mark.usefixtures("never_by_itself")
async def test_what_a_log_says_is_heard_at_once_whether_it_was_there_or_not(
    tails: Tails, redis: Redis
) -> None:
    job_id = new_id()
    client = Client(tails, job_id)
    await eventually(lambda: client.follower.tail.is_loaded)
    for seq in range(20):
        await written(redis, job_id, FENCE, delta(str(seq)), seq=seq)
        await client.saw(seq + 1)


@pytest.mark.usefixtures("never_by_itself")
async def test_only_logs_that_have_changed_are_read(tails: Tails, redis: Redis) -> None:
    # Given many logs that are followed, and one that is not
    clients = [Client(tails, new_id()) for _ in range(50)]
    for client in clients:
        await eventually(lambda client=client: client.follower.tail.is_loaded)
    async with redis.monitor() as monitor:
        # When one of them says something, and the other one, too
        await written(redis, new_id(), FENCE, attempt())
        await written(redis, clients[7].job_id, FENCE, attempt(), completed())
        await clients[7].ended()
        await redis.echo("that was it")
        said = [command["command"] async for command in _until_echo(monitor)]
    # Then Redis was asked for that one only
    asked = [command for command in said if command.startswith("XREAD")]
    assert asked
    assert all(
        command.count(":log:") == 1 and clients[7].follower.tail.job_id in command for command in asked
    )
    for client in clients:
        await client.gone()


async def _until_echo(monitor: Any) -> AsyncIterator[dict[str, Any]]:
    async for command in monitor.listen():
        if command["command"].startswith("ECHO"):
            return
        yield command


async def test_a_change_that_nobody_tells_of_is_found_all_the_same(tails: Tails, redis: Redis) -> None:
    # Given a reader to which no word of changes gets through any more
    job_id = new_id()
    client = Client(tails, job_id)
    await eventually(lambda: client.follower.tail.is_loaded)
    (reader,) = tails._readers
    assert reader._tracking is not None
    reader._tracking._heard = lambda _: None
    # When something is said; Then it is read a little later
    await written(redis, job_id, FENCE, attempt(), completed())
    assert await client.ended() == told(FENCE, attempt(), completed())


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
    before = (await redis.info("clients"))["connected_clients"]
    clients = [Client(tails, new_id()) for _ in range(50)]
    for client in clients:
        await eventually(lambda client=client: client.follower.tail.is_loaded)
    assert (await redis.info("clients"))["connected_clients"] == before + 1
    for client in clients:
        await client.gone()


@pytest.mark.usefixtures("never_by_itself")
async def test_those_who_come_back_at_once_cost_redis_nothing(tails: Tails, redis: Redis) -> None:
    # Given clients that have followed a log so far
    job_id = new_id()
    log = [attempt(), *WORDS]
    await written(redis, job_id, FENCE, *log)
    clients = [Client(tails, job_id) for _ in range(20)]
    for client in clients:
        await client.saw(len(log))
    before = await reads(redis)
    # When all of them drop and come back, each from another place
    for client in clients:
        await client.gone()
    again = [Client(tails, job_id, Cursor(FENCE, number % len(log))) for number in range(20)]
    # Then they have what they missed at once
    for number, client in enumerate(again):
        assert client.events == told(FENCE, *log)[number % len(log) + 1 :]
    # And nothing was asked of Redis, and nobody began to read anew
    assert await reads(redis) == before
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
    await written(redis, job_id, FENCE, attempt(), delta("a"))
    await Client(tails, job_id).saw(2)
    assert reader._tracking is not None
    ask, came = reader._tracking.ask, []

    async def ask_then_begin_anew(*question: Any) -> Any:
        answer = await ask(*question)
        if answer[0] and tails.all()[0].end == 2 and not came:
            tails.forget(tails.all()[0])
            came.append(Client(tails, job_id))
        return answer

    monkeypatch.setattr(reader._tracking, "ask", ask_then_begin_anew)
    await written(redis, job_id, FENCE, delta("b"), seq=2)
    await eventually(lambda: came)
    await written(redis, job_id, FENCE, completed(), seq=3)
    # Then its follower is told the whole log
    assert await came[0].ended() == told(FENCE, attempt(), delta("a"), delta("b"), completed())
