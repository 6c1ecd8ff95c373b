"""Memory: what a process holds for a Redis that is away, and a Redis that has none left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from given import PATIENCE_SECONDS, attempt, completed, delta, eventually, failed
from lines import Memory
from redis.asyncio import Redis
from writing import FENCE, Desk, desk, expected, say

from tokentail.shared import events, keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import Superseded
from tokentail.stack.redis_server import RedisServer
from tokentail.worker.writer import Writer

Servers = Callable[..., RedisServer]


def size(*log: events.Event) -> int:
    return sum(len(events.encode(event)) for event in log)


class Told:
    """Counts how often a writer says that Redis is full."""

    def __init__(self, writer: Writer) -> None:
        self.times = 0
        writer.on_full = self

    def __call__(self) -> None:
        self.times += 1


async def fill(redis: Redis) -> None:
    """Let Redis refuse whatever needs memory."""
    await redis.config_set("maxmemory", 1)


async def empty(redis: Redis) -> None:
    await redis.config_set("maxmemory", 0)


async def refused(redis: Redis) -> bool:
    """Whether Redis has refused something for lack of memory since it was started."""
    return "errorstat_OOM" in await redis.info("errorstats")


# What a process holds


async def test_what_was_taken_in_counts_until_redis_has_acknowledged_it(redis_url: str) -> None:
    async with desk(redis_url) as at:
        writers = [await at.begin(fence=FENCE + n) for n in range(2)]
        assert at.appender.unsent_bytes == 0
        # When two attempts say something
        for writer in writers:
            say(writer, ["one", "two"])
        # Then all of it counts, and then none
        assert at.appender.unsent_bytes == 2 * size(delta("one"), delta("two"))
        for writer in writers:
            await writer.flushed()
        assert at.appender.unsent_bytes == 0


async def test_what_redis_forgot_counts_again(new_redis_server: Servers, tmp_path) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given a log of which Redis forgets two entries
        writer = await at.begin()
        memory = Memory(server, tmp_path)
        say(writer, "ab")
        await writer.flushed()
        memory.bring_back()
        # When they are appended again
        counts = []
        moved = writer.moved
        writer.moved = lambda acked: (moved(acked), counts.append(at.appender.unsent_bytes))  # type: ignore[assignment]
        say(writer, "c")
        await writer.flushed()
        # Then they counted until they were
        assert max(counts) == size(*map(delta, "abc"))
        assert counts[-1] == at.appender.unsent_bytes == 0


@pytest.mark.parametrize("way", ["close", "lose"])
async def test_what_will_never_be_sent_does_not_count(new_redis_server: Servers, way: str) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        writer, other = await at.begin(), await at.begin()
        if way == "close":
            # When an attempt is over with something left to say
            server.stop()
            say(writer, "abc")
            at.appender.close(writer)
        else:
            # When an attempt is fenced off with something left to say
            await at.begin(writer.job_id, FENCE + 1)
            say(writer, "abc")
            with pytest.raises(Superseded):
                await writer.flushed()
            say(writer, "d")
        # Then it does not keep others waiting
        assert at.appender.unsent_bytes == (0 if way == "close" else size(delta("d")))
        at.appender.close(writer)
        at.appender.close(other)
        assert at.appender.unsent_bytes == 0


async def test_with_room_there_is_nothing_to_wait_for(redis_url: str) -> None:
    async with desk(redis_url, unsent_limit_bytes=1) as at:
        writer = await at.begin()
        await writer.room()


async def test_attempts_wait_for_room_while_redis_is_away_and_go_on_when_it_is_back(
    new_redis_server: Servers,
) -> None:
    server = new_redis_server()
    async with desk(server.url, unsent_limit_bytes=size(*map(delta, "abc"))) as at:
        # Given two attempts, and a Redis that goes
        writer, other = await at.begin(), await at.begin(fence=FENCE + 1)
        server.stop()
        # When one has said as much as the process may hold
        say(writer, "ab")
        await writer.room()
        say(writer, "c")
        # Then both wait
        waiting = [asyncio.create_task(w.room()) for w in (writer, other)]
        done, _ = await asyncio.wait(waiting, timeout=0.05)
        assert not done
        # And go on when it has been stored
        server.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*waiting)
        assert await at.log(writer) == expected(FENCE, "abc")


async def test_whoever_waits_for_room_hears_that_the_log_is_lost(new_redis_server: Servers) -> None:
    server = new_redis_server()
    async with desk(server.url, unsent_limit_bytes=1) as at:
        writer = await at.begin()
        server.stop()
        say(writer, "a")
        waiting = asyncio.create_task(writer.room())
        await asyncio.sleep(0)
        writer.give_up()
        with pytest.raises(Superseded):
            await waiting


async def test_whoever_takes_nothing_in_any_more_waits_for_no_room(new_redis_server: Servers) -> None:
    server = new_redis_server()
    async with desk(server.url, unsent_limit_bytes=1) as at:
        # Given three attempts that wait because one of them has filled the process
        full, lost, other = [await at.begin(fence=FENCE + n) for n in range(3)]
        server.stop()
        say(other, "a")
        waiting = [asyncio.create_task(writer.room()) for writer in (full, lost, other)]
        await asyncio.sleep(0)
        # When Redis turns out to have no memory for one, and another one's log is lost
        full.fill()
        lost.give_up()
        # Then both hear of it although there is no room yet
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting[0]
            with pytest.raises(Superseded):
                await waiting[1]
        assert not waiting[2].done()
        server.start()
        await waiting[2]


# How large a log is


async def test_an_attempt_knows_how_large_its_log_is(redis_url: str) -> None:
    async with desk(redis_url) as at:
        # Given an attempt that has said a lot
        first = await at.begin()
        assert first.log_bytes == size(attempt())
        say(first, ["x" * 10_000] * 20)
        await first.flushed()
        said = size(attempt()) + 20 * size(delta("x" * 10_000))
        assert first.log_bytes == said
        # When another one begins
        second = await at.begin(first.job_id, FENCE + 1)
        # Then it counts what stands there as Redis counts it
        assert said < second.log_bytes < said * 1.2
        before = second.log_bytes
        say(second, ["y"])
        assert second.log_bytes == before + size(delta("y"))


# A Redis without memory


@pytest.fixture
async def small(new_redis_server: Servers) -> AsyncIterator[Desk]:
    """An appender with a Redis of its own, which can be made full."""
    async with desk(new_redis_server().url) as made:
        yield made


@pytest.mark.parametrize("words", [1, 2, 50])
async def test_an_attempt_is_told_once_that_redis_is_full_and_what_was_stored_stays(
    small: Desk, words: int
) -> None:
    # Given an attempt in mid-answer, and a Redis that is full
    writer = await small.begin()
    told = Told(writer)
    say(writer, "ab")
    await writer.flushed()
    await fill(small.redis)
    # When it goes on
    say(writer, range(words))
    await eventually(lambda: told.times)
    # Then it holds what is stored, and takes nothing more in
    say(writer, range(5))
    assert len(writer.entries) == 3
    await writer.flushed()
    await writer.room()
    assert told.times == 1
    assert small.appender.unsent_bytes == 0
    assert writer.entries == [events.encode(event) for event in (attempt(), delta("a"), delta("b"))]
    assert writer.log_bytes == size(attempt(), delta("a"), delta("b"))
    # And its ending follows at once, although Redis is still full
    async with asyncio.timeout(PATIENCE_SECONDS):
        ending = await small.appender.end(writer, failed(), ttl_seconds=100)
    assert ending.cursor == Cursor(FENCE, 3)
    assert await small.log(writer) == expected(FENCE, "ab", failed())
    assert 90 < await small.redis.ttl(keys.log(writer.job_id)) <= 100


async def test_attempts_that_share_a_flush_all_hear_that_redis_is_full(small: Desk) -> None:
    writers = [await small.begin(fence=FENCE + n) for n in range(3)]
    told = [Told(writer) for writer in writers]
    await fill(small.redis)
    for writer in writers:
        say(writer, "abc")
    await eventually(lambda: all(one.times for one in told))
    for writer in writers:
        await small.appender.end(writer, failed(), ttl_seconds=100)
        assert await small.log(writer) == expected(writer.fence, "", failed())


async def test_a_job_can_end_in_a_full_redis_that_has_no_log_of_it(small: Desk) -> None:
    # Given a job that ended in the queue
    await fill(small.redis)
    await small.logs.append("job", Cursor(FENCE, 0), events.encode(failed()), ttl_seconds=100)
    # Then its ending is stored, and expires
    assert await small.redis.xlen(keys.log("job")) == 1
    assert 90 < await small.redis.ttl(keys.log("job")) <= 100


async def test_an_attempt_can_begin_in_a_full_redis_and_is_told_then(small: Desk) -> None:
    # Given a Redis that is full when an attempt begins
    await fill(small.redis)
    async with asyncio.timeout(PATIENCE_SECONDS):
        writer = await small.begin()
    told = Told(writer)
    # When its model says something; Then it learns that there is no memory for more
    say(writer, "a")
    await eventually(lambda: told.times)
    # And it can end there
    await small.appender.end(writer, failed(), ttl_seconds=100)
    assert await small.log(writer) == expected(FENCE, "", failed())


async def test_what_followers_have_seen_is_not_dropped_for_lack_of_memory(
    new_redis_server: Servers, tmp_path
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given a log of which Redis forgets the end, and is full when it comes back
        writer = await at.begin()
        told = Told(writer)
        memory = Memory(server, tmp_path)
        say(writer, "abc")
        await writer.flushed()
        memory.bring_back()
        await fill(at.redis)
        say(writer, "d")
        ending = asyncio.create_task(at.appender.end(writer, completed(), ttl_seconds=100))
        await eventually(lambda: refused(at.redis))
        assert (told.times, ending.done()) == (0, False)
        # When there is memory again; Then all of it is
        await empty(at.redis)
        await ending
        assert await at.log(writer) == expected(FENCE, "abcd", completed())


async def test_of_entries_that_go_out_together_none_is_stored_without_those_before_it(
    new_redis_server: Servers,
) -> None:
    # Given a full Redis that has memory again between the first word and the second
    server = new_redis_server()
    async with (
        Redis.from_url(server.url) as redis,
        interrupted(server.url, b"second", lambda: empty(redis)) as url,
        desk(url, server.url) as at,
    ):
        writer = await at.begin()
        told = Told(writer)
        await fill(redis)
        # When both go out
        say(writer, ["first", "second"])
        await eventually(lambda: told.times)
        # Then the second was not stored without the first
        await at.appender.end(writer, failed(), ttl_seconds=100)
        assert await at.log(writer) == expected(FENCE, [], failed())


@asynccontextmanager
async def interrupted(url: str, at: bytes, deed: Callable[[], Awaitable[None]]) -> AsyncIterator[str]:
    """A line to Redis on which something happens before these bytes get through, the first time."""
    parts = urlsplit(url)
    done = False
    tasks = set()

    async def to_redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal done
        while data := await reader.read(65536):
            before, found, after = data.partition(at)
            writer.write(before)
            if found and not done:
                done = True
                await deed()
            writer.write(found + after)

    async def to_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        for way in (to_redis(reader, far_writer), to_client(far_reader, writer)):
            tasks.add(asyncio.create_task(way))
        writers.extend((writer, far_writer))

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
