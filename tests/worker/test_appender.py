"""Group commit: every entry once, in order, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from given import PATIENCE_SECONDS, attempt, completed, delta, eventually, failed, read, whole_log, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines import line_to
from writing import FENCE, Desk, desk, expected, say

from tokentail.shared import keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import Superseded
from tokentail.shared.job import new_id
from tokentail.shared.log import Entry
from tokentail.stack.redis_server import RedisServer
from tokentail.worker import lane as lane_module
from tokentail.worker.writer import Writer


@pytest.fixture
async def at(redis_url: str) -> AsyncIterator[Desk]:
    async with desk(redis_url) as made:
        yield made


async def test_an_attempt_is_in_the_log_before_anything_else(at: Desk) -> None:
    writer = await at.begin()
    assert await at.log(writer) == expected(FENCE, [])
    assert 90 < await at.redis.ttl(keys.log(writer.job_id)) <= 100


async def test_entries_stand_in_their_order_numbered_without_a_gap(at: Desk) -> None:
    writer = await at.begin()
    say(writer, range(100))
    await writer.flushed()
    assert await at.log(writer) == expected(FENCE, range(100))


async def test_jobs_of_one_process_do_not_mix(at: Desk) -> None:
    # Given ten attempts that speak in turns
    writers = [await at.begin(fence=FENCE + n) for n in range(10)]
    for word in range(50):
        for number, writer in enumerate(writers):
            say(writer, [f"{number}:{word}"])
        await asyncio.sleep(0)
    for writer in writers:
        await writer.flushed()
    # Then each log holds its own words in order
    for number, writer in enumerate(writers):
        words = [f"{number}:{word}" for word in range(50)]
        assert await at.log(writer) == expected(FENCE + number, words)


async def test_what_accumulates_goes_out_together(at: Desk) -> None:
    # Given five attempts
    writers = [await at.begin(fence=FENCE + n) for n in range(5)]
    before = (await at.redis.info("stats"))["total_reads_processed"]
    # When they say 500 words before the appender gets its turn
    for writer in writers:
        say(writer, range(100))
    for writer in writers:
        await writer.flushed()
    # Then Redis has read from its clients a few times only
    assert (await at.redis.info("stats"))["total_reads_processed"] - before < 25


async def test_more_than_one_flush_may_carry_is_carried_by_several(
    at: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "BATCH", 7)
    writers = [await at.begin(fence=FENCE + n) for n in range(3)]
    for writer in writers:
        say(writer, range(30))
    for number, writer in enumerate(writers):
        await writer.flushed()
        assert await at.log(writer) == expected(FENCE + number, range(30))


async def test_appending_does_not_wait_and_flushed_does(at: Desk) -> None:
    writer = await at.begin()
    say(writer, ["a"])
    assert writer.acked == 1
    await writer.flushed()
    assert writer.acked == 2
    # And with nothing to wait for it returns at once
    await writer.flushed()


# Losing the connection


async def test_entries_survive_connections_that_are_killed_again_and_again(at: Desk) -> None:
    writers = [await at.begin(fence=FENCE + n) for n in range(3)]
    # When all connections are killed after every few words
    for round_ in range(20):
        for writer in writers:
            say(writer, range(round_ * 10, round_ * 10 + 10))
        await at.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0)
    # Then each log is whole all the same
    for number, writer in enumerate(writers):
        await writer.flushed()
        assert await at.log(writer) == expected(FENCE + number, range(200))


@pytest.mark.parametrize("losses", [1, 2, 3])
async def test_a_flush_whose_reply_is_lost_doubles_nothing(redis_url: str, losses: int) -> None:
    async with line_to(redis_url) as line, desk(line.url, redis_url) as at:
        # Given entries that reach Redis over a line that loses the answer
        writer = await at.begin()
        say(writer, range(3))
        await writer.flushed()
        line.lose_replies(losses)
        say(writer, range(3, 10))
        # And nothing is said any more that would remind the appender of them
        async with asyncio.timeout(PATIENCE_SECONDS):
            await writer.flushed()
        # Then they stand in the log once
        assert line.lost == losses
        assert await at.log(writer) == expected(FENCE, range(10))
        assert not writer.lost


async def test_an_opening_whose_reply_is_lost_opens_once(redis_url: str) -> None:
    async with line_to(redis_url) as line, desk(line.url, redis_url) as at:
        line.lose_replies()
        writer = await at.begin()
        assert line.lost == 1
        assert await at.log(writer) == expected(FENCE, [])


async def test_an_ending_whose_reply_is_lost_stands_once(redis_url: str) -> None:
    async with line_to(redis_url) as line, desk(line.url, redis_url) as at:
        writer = await at.begin()
        say(writer, "ab")
        await writer.flushed()
        # When the answer to the ending is lost, and that to its repetition too
        line.lose_replies(2)
        ending = await at.appender.end(writer, completed(), ttl_seconds=100)
        # Then there is one
        assert line.lost == 2
        assert ending.cursor == Cursor(FENCE, 3)
        assert await at.log(writer) == expected(FENCE, "ab", completed())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(st.sampled_from(["say", "turn", "lose", "kill", "wait"]), max_size=25))
async def test_whatever_happens_to_the_line_a_log_is_its_words_in_order(
    redis_url: str, script: list[str]
) -> None:
    async with line_to(redis_url) as line, desk(line.url, redis_url) as at:
        writer = await at.begin()
        words = 0
        for step in script:
            if step == "say":
                say(writer, range(words, words + 3))
                words += 3
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "lose":
                line.lose_replies()
            elif step == "kill":
                await at.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            else:
                await writer.flushed()
        ending = await at.appender.end(writer, completed(), ttl_seconds=100)
        assert ending.cursor == Cursor(FENCE, words + 1)
        assert await at.log(writer) == expected(FENCE, range(words), completed())


# Losing the log


class Lost:
    """Counts how often a writer says that it is lost."""

    def __init__(self, writer: Writer) -> None:
        self.times = 0
        writer.on_lost = self

    def __call__(self) -> None:
        self.times += 1


async def test_a_writer_that_a_newer_attempt_has_fenced_off_is_told_once_and_sends_nothing_more(
    at: Desk,
) -> None:
    # Given an attempt, and a newer one that has begun
    writer = await at.begin()
    lost = Lost(writer)
    say(writer, ["before"])
    await writer.flushed()
    newer = await at.begin(writer.job_id, FENCE + 1)
    # When the old one goes on
    say(writer, range(5))
    with pytest.raises(Superseded):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await writer.flushed()
    # Then it has been told, once, however much more it says
    say(writer, range(5))
    say(newer, ["after"])
    await newer.flushed()
    assert lost.times == 1
    # And none of it stands in the log
    log = await at.log(writer)
    assert [entry_id for entry_id, _ in log] == [
        f"{FENCE}-0",
        f"{FENCE}-1",
        f"{FENCE + 1}-0",
        f"{FENCE + 1}-1",
    ]
    # And nothing more is even tried: a log that would take it stays empty
    await at.redis.delete(keys.log(writer.job_id))
    await at.redis.xadd(keys.log(writer.job_id), {"e": "{}"}, id="1-1")
    say(writer, range(5))
    other = await at.begin()
    say(other, ["x"])
    await other.flushed()
    assert await at.redis.xlen(keys.log(writer.job_id)) == 1


async def test_a_fenced_writer_does_not_disturb_those_it_shares_a_flush_with(at: Desk) -> None:
    stale, fine = await at.begin(), await at.begin()
    await at.begin(stale.job_id, FENCE + 1)
    for _ in range(10):
        say(stale, "x")
        say(fine, "y")
    await fine.flushed()
    assert await at.log(fine) == expected(FENCE, "y" * 10)
    with pytest.raises(Superseded):
        await stale.flushed()


async def test_a_log_deleted_as_its_writer_was_asked_about_is_not_made_again(at: Desk) -> None:
    # Given a writer in doubt, whose job is deleted while Redis is asked how far its log goes
    writer, other = await at.begin(), await at.begin()
    lane = writer.lane
    assert lane is not None
    ask = lane._last_entries

    async def meanwhile(writers: list[Writer]) -> list[Entry | None]:
        if writer in writers:
            await at.logs.delete(writer.job_id)
        answers = await ask(writers)
        at.appender.close(writer)
        return answers

    lane._last_entries = meanwhile  # type: ignore[method-assign]
    lane.doubt([writer])
    # When the appender goes on
    say(other, "x")
    await other.flushed()
    # Then the log stays deleted
    assert await at.log(writer) == []


async def test_a_server_that_has_become_a_replica_is_left(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    server = new_redis_server()
    async with desk(server.url) as at:
        # Given an attempt in mid-answer
        writer = await at.begin()
        say(writer, "a")
        await writer.flushed()
        # When its server begins to refuse what is to be written
        await at.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        connected = (await at.redis.info("stats"))["total_connections_received"]
        say(writer, "b")

        # Then it connects anew, for its address may lead to another server by now
        async def has_left() -> bool:
            return (await at.redis.info("stats"))["total_connections_received"] > connected

        await eventually(has_left)
        await at.redis.execute_command("REPLICAOF", "NO", "ONE")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await writer.flushed()
        assert await at.log(writer) == expected(FENCE, "ab")


async def test_a_log_that_was_deleted_is_not_made_again(at: Desk) -> None:
    writer = await at.begin()
    lost = Lost(writer)
    say(writer, "x")
    await writer.flushed()
    await at.logs.delete(writer.job_id)
    say(writer, range(5))
    with pytest.raises(Superseded):
        await writer.flushed()
    assert lost.times == 1
    assert await at.redis.exists(keys.log(writer.job_id)) == 0


async def test_a_writer_fenced_off_while_its_connection_was_gone_learns_it_before_it_writes(
    redis_url: str,
) -> None:
    async with line_to(redis_url) as line, desk(line.url, redis_url) as at:
        # Given an attempt whose flush got no answer, and a newer attempt meanwhile
        writer = await at.begin()
        lost = Lost(writer)
        line.lose_replies()
        say(writer, range(3))
        await written(at.redis, writer.job_id, FENCE + 1, attempt(2))
        with pytest.raises(Superseded):
            await writer.flushed()
        assert lost.times == 1
        assert (await at.log(writer))[-1] == (f"{FENCE + 1}-0", attempt(2))


async def test_a_writer_fenced_off_in_silence_learns_it_with_the_next_reconnection(redis_url: str) -> None:
    async with line_to(redis_url) as line, desk(line.url, redis_url) as at:
        # Given an attempt that has nothing to send, and a newer one that has said more than it
        silent, other = await at.begin(), await at.begin()
        say(silent, "ab")
        await silent.flushed()
        await written(at.redis, silent.job_id, FENCE + 1, attempt(2), *(delta(str(n)) for n in range(9)))
        # When the connection breaks for another's sake
        line.lose_replies()
        say(other, "x")
        await other.flushed()
        with pytest.raises(Superseded):
            await silent.flushed()


# Beginning and ending


async def test_an_ended_log_is_not_opened_but_its_ending_told(at: Desk) -> None:
    job_id = new_id()
    entries = await written(at.redis, job_id, FENCE - 1, attempt(), failed())
    opened = await at.appender.open(job_id, FENCE, attempt(2), ttl_seconds=100)
    assert opened == entries[-1]
    assert await read(at.logs, job_id) == entries


async def test_a_log_in_which_a_newer_attempt_has_begun_is_not_opened(at: Desk) -> None:
    newer = await at.begin(fence=FENCE + 1)
    with pytest.raises(Superseded):
        await at.begin(newer.job_id, FENCE)


async def test_an_ending_stands_behind_everything_taken_in(at: Desk) -> None:
    writer = await at.begin(ttl_seconds=100)
    say(writer, range(20))
    # When it ends without waiting for what was said
    ending = await at.appender.end(writer, completed(), ttl_seconds=1000)
    assert isinstance(ending, Entry)
    assert ending.cursor == Cursor(FENCE, 21)
    assert await at.log(writer) == expected(FENCE, range(20), completed())
    # And the log lives its time from now
    assert 900 < await at.redis.ttl(keys.log(writer.job_id)) <= 1000


async def test_an_ending_that_is_there_already_stands(at: Desk) -> None:
    # Given a job that was ended by the control plane while its attempt went on
    writer = await at.begin()
    (there,) = await written(at.redis, writer.job_id, FENCE + 1, failed())
    assert await at.appender.end(writer, completed(), ttl_seconds=100) == there
    assert len(await at.log(writer)) == 2


async def test_an_attempt_that_was_superseded_can_not_end(at: Desk) -> None:
    writer = await at.begin()
    await at.begin(writer.job_id, FENCE + 1)
    with pytest.raises(Superseded):
        await at.appender.end(writer, completed(), ttl_seconds=100)
    assert [event["type"] for _, event in await whole_log(at.redis, writer.job_id)] == ["attempt", "attempt"]


async def test_what_a_closed_writer_held_is_forgotten(redis_url: str) -> None:
    async with line_to(redis_url) as line, desk(line.url, redis_url) as at:
        # Given an attempt that is over, with something still to be sent
        closed, other = await at.begin(), await at.begin()
        say(closed, "x")
        at.appender.close(closed)
        # When the connection breaks and comes back
        line.lose_replies()
        other.append(delta("y"))
        await other.flushed()
        # Then only the other went on
        assert await at.log(closed) == expected(FENCE, "")
        assert await at.log(other) == expected(FENCE, "y")
