"""Redis restarts, with all it knew or without the end of it: no log ever has a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from given import attempt, completed, eventually, written
from lines import Memory
from writing import FENCE, desk, expected, say

from tokentail.shared import keys
from tokentail.shared.errors import Superseded
from tokentail.shared.redis import until_available
from tokentail.stack.redis_server import RedisServer

Servers = Callable[..., RedisServer]


async def test_what_is_said_while_redis_is_away_is_stored_when_it_is_back(new_redis_server: Servers) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given an attempt in mid-answer
        writer = await at.begin()
        say(writer, range(10))
        await writer.flushed()
        # When Redis crashes, and the model goes on
        server.kill()
        say(writer, range(10, 20))
        waiting = asyncio.create_task(writer.flushed())
        await eventually(lambda: writer.unsure)
        say(writer, range(20, 30))
        assert not waiting.done()
        # Then all of it is there when Redis is back
        server.start()
        await waiting
        assert await at.log(writer) == expected(FENCE, range(30))


async def test_an_ending_waits_for_redis(new_redis_server: Servers) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        writer = await at.begin()
        say(writer, range(3))
        await writer.flushed()
        server.kill()
        ending = asyncio.create_task(at.appender.end(writer, completed(), ttl_seconds=100))
        await eventually(lambda: writer.unsure)
        server.start()
        await ending
        assert await at.log(writer) == expected(FENCE, range(3), completed())


async def test_an_opening_waits_for_redis(new_redis_server: Servers) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        server.kill()
        beginning = asyncio.create_task(at.begin())
        await asyncio.sleep(0)
        server.start()
        assert await at.log(await beginning) == expected(FENCE, [])


@pytest.mark.parametrize("known", [0, 1, 4, 10])
async def test_entries_that_redis_forgot_are_appended_again_with_the_same_ids(
    new_redis_server: Servers, tmp_path: Path, known: int
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given a log of which Redis has only the beginning on its disk
        writer = await at.begin()
        say(writer, range(known))
        await writer.flushed()
        memory = Memory(server, tmp_path)
        say(writer, range(known, 10))
        await writer.flushed()
        # When it crashes and comes back with that, and the model goes on
        memory.bring_back()
        assert await at.log(writer) == expected(FENCE, range(known))
        say(writer, range(10, 15))
        await writer.flushed()
        # Then nothing is missing
        assert await at.log(writer) == expected(FENCE, range(15))


async def test_a_log_that_redis_forgot_whole_is_opened_again_and_expires(
    new_redis_server: Servers, tmp_path: Path
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        memory = Memory(server, tmp_path)
        writers = [await at.begin(fence=FENCE + n) for n in range(3)]
        for writer in writers:
            say(writer, range(10))
            await writer.flushed()
        # When Redis comes back empty
        memory.bring_back()
        assert await at.redis.keys("*") == []
        say(writers[0], [10])
        await writers[0].flushed()
        # Then all logs that this process writes are whole again, also those that had nothing to add
        for writer in writers[1:]:
            await writer.flushed()
            assert await at.log(writer) == expected(writer.fence, range(10))
        assert await at.log(writers[0]) == expected(FENCE, range(11))
        assert 90 < await at.redis.ttl(keys.log(writers[0].job_id)) <= 100


async def test_an_attempt_that_redis_forgot_before_its_first_delta_begins_again(
    new_redis_server: Servers, tmp_path: Path
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given an attempt that has begun over another connection than the one its deltas will take
        memory = Memory(server, tmp_path)
        writer = await at.begin()
        # When Redis forgets it in the silence before the first
        memory.bring_back()
        say(writer, "ab")
        await writer.flushed()
        assert await at.log(writer) == expected(FENCE, "ab")


async def test_an_attempt_that_redis_forgot_whole_is_opened_again_behind_the_one_before_it(
    new_redis_server: Servers, tmp_path: Path
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given a second attempt, of which Redis has nothing on its disk, and a first one that said more
        first = await at.begin()
        say(first, "abc")
        await first.flushed()
        memory = Memory(server, tmp_path)
        second = await at.begin(first.job_id, FENCE + 1)
        say(second, "d")
        await second.flushed()
        # When Redis forgets it, and its model goes on
        memory.bring_back()
        say(second, "e")
        await second.flushed()
        # Then all of it is there
        log = await at.log(second)
        assert log == expected(FENCE, "abc") + expected(FENCE + 1, "de")


async def test_an_ending_never_follows_a_gap(new_redis_server: Servers, tmp_path: Path) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given an answer that is stored, of which Redis has only the beginning on its disk
        writer = await at.begin()
        say(writer, range(3))
        await writer.flushed()
        memory = Memory(server, tmp_path)
        say(writer, range(3, 10))
        await writer.flushed()
        # When it forgets the rest in the silence before the ending, and others have talked to it since
        memory.bring_back()
        await until_available(lambda: at.logs.last(writer.job_id))
        ending = await at.appender.end(writer, completed(), ttl_seconds=100)
        # Then the rest is there before the ending
        assert await at.log(writer) == expected(FENCE, range(10), completed())
        assert ending.cursor.seq == 11


async def test_an_ending_whose_log_was_forgotten_whole_gets_all_of_it_first(
    new_redis_server: Servers, tmp_path: Path
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        memory = Memory(server, tmp_path)
        writer = await at.begin()
        say(writer, range(5))
        await writer.flushed()
        memory.bring_back()
        await until_available(lambda: at.logs.last(writer.job_id))
        await at.appender.end(writer, completed(), ttl_seconds=100)
        assert await at.log(writer) == expected(FENCE, range(5), completed())


async def test_what_was_forgotten_does_not_come_back_behind_a_newer_attempt(
    new_redis_server: Servers, tmp_path: Path
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given a log that Redis forgets, and a newer attempt that begins in it at once
        writer = await at.begin()
        say(writer, range(2))
        await writer.flushed()
        memory = Memory(server, tmp_path)
        say(writer, range(2, 8))
        await writer.flushed()
        memory.bring_back()
        await written(at.redis, writer.job_id, FENCE + 1, attempt(2))
        # When the old one goes on
        say(writer, [8])
        with pytest.raises(Superseded):
            await writer.flushed()
        # Then the newer attempt's log stands
        assert await at.log(writer) == [*expected(FENCE, range(2)), (f"{FENCE + 1}-0", attempt(2))]
