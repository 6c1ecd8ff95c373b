"""A log takes each entry once, in order, and none after its ending."""

from __future__ import annotations

from typing import Any

import pytest
from given import attempt, completed, delta, failed, read, whole_log, written
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tokentail.shared import events, keys
from tokentail.shared import log as log_module
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import LogCut
from tokentail.shared.job import new_id
from tokentail.shared.log import Entry, Logs

FENCE = 1_763_881_234_567
CANCELLED: Any = {"type": "cancelled", "reason": "requested", "usage": None}


@pytest.fixture
def job_id() -> str:
    return new_id()


def mark(fence: int, seq: int, event: Any) -> Entry:
    return Entry(Cursor(fence, seq), events.encode(event))


async def append(logs: Logs, job_id: str, entry: Entry, ttl_seconds: float = 100) -> Entry | None:
    return await logs.append(job_id, entry.cursor, entry.raw, ttl_seconds=ttl_seconds)


async def test_an_opening_begins_a_log_that_expires(logs: Logs, redis: Redis, job_id: str) -> None:
    opening = mark(FENCE, 0, attempt())
    assert await append(logs, job_id, opening, 100) is None
    assert await read(logs, job_id) == [opening]
    assert 90_000 < await redis.pttl(keys.log(job_id)) <= 100_000


async def test_an_ending_sets_the_logs_lifetime_anew(logs: Logs, redis: Redis, job_id: str) -> None:
    await append(logs, job_id, mark(FENCE, 0, attempt()), 100)
    await append(logs, job_id, mark(FENCE, 1, completed()), 1000)
    assert 900_000 < await redis.pttl(keys.log(job_id)) <= 1_000_000


async def test_saying_it_again_after_a_lost_reply_is_harmless(logs: Logs, job_id: str) -> None:
    opening, ending = mark(FENCE, 0, attempt()), mark(FENCE, 1, completed())
    for entry in (opening, opening, ending, ending):
        assert await append(logs, job_id, entry) is None
    assert await read(logs, job_id) == [opening, ending]


@pytest.mark.parametrize("ending", [completed(), failed(), CANCELLED], ids=lambda event: event["type"])
async def test_after_an_ending_nothing_begins_and_nothing_ends(
    logs: Logs, redis: Redis, job_id: str, ending: Any
) -> None:
    # Given a log that has ended
    await append(logs, job_id, mark(FENCE, 0, attempt()))
    there = mark(FENCE, 1, ending)
    await append(logs, job_id, there, 100)
    # When a newer attempt wants to open it, or another ending is to be written
    for late in (mark(FENCE + 1, 0, attempt(2)), mark(FENCE + 1, 0, failed()), mark(FENCE, 2, completed())):
        # Then it is told of the ending that is there
        assert await append(logs, job_id, late, 5000) == there
    assert len(await read(logs, job_id)) == 2
    # And the log does not live longer for it
    assert await redis.pttl(keys.log(job_id)) <= 100_000


async def test_an_older_attempt_is_told_of_the_newer_one(logs: Logs, redis: Redis, job_id: str) -> None:
    # Given a log in which a newer attempt has begun
    await append(logs, job_id, mark(FENCE, 0, attempt()))
    newer = mark(FENCE + 1, 0, attempt(2, "lost"))
    await append(logs, job_id, newer, 100)
    # Then the older one can't begin, nor end
    for late in (mark(FENCE - 1, 0, attempt()), mark(FENCE, 0, attempt()), mark(FENCE, 3, completed())):
        assert await append(logs, job_id, late, 5000) == newer
    assert len(await read(logs, job_id)) == 2
    assert await redis.pttl(keys.log(job_id)) <= 100_000


async def test_fences_are_compared_as_numbers(logs: Logs, job_id: str) -> None:
    await append(logs, job_id, mark(999, 0, attempt()))
    assert await append(logs, job_id, mark(1000, 0, attempt(2))) is None
    assert await append(logs, job_id, mark(999, 1, completed())) == mark(1000, 0, attempt(2))


async def test_an_ending_does_not_go_before_entries_of_its_own_attempt(
    logs: Logs, redis: Redis, job_id: str
) -> None:
    entries = await written(redis, job_id, FENCE, attempt(), delta("a"), delta("b"))
    assert await append(logs, job_id, mark(FENCE, 1, completed())) == entries[-1]


async def test_an_ending_does_not_follow_a_gap(logs: Logs, redis: Redis, job_id: str) -> None:
    # Given a log whose end Redis has forgotten
    for entries in ([], [attempt(2)], [attempt(2), delta("a")]):
        await logs.delete(job_id)
        await written(redis, job_id, FENCE, *entries)
        # Then an ending that would stand further on is refused until the rest is there
        with pytest.raises(LogCut):
            await append(logs, job_id, mark(FENCE, 3, completed()))
        assert await redis.xlen(keys.log(job_id)) == len(entries)
    await redis.xadd(keys.log(job_id), {"e": events.encode(delta("b"))}, id=f"{FENCE}-2")
    assert await append(logs, job_id, mark(FENCE, 3, completed())) is None


async def test_an_ending_does_not_follow_an_older_attempts_entries(
    logs: Logs, redis: Redis, job_id: str
) -> None:
    await written(redis, job_id, FENCE - 1, attempt(), delta("a"))
    with pytest.raises(LogCut):
        await append(logs, job_id, mark(FENCE, 2, completed()))


async def test_a_delta_that_quotes_an_ending_ends_nothing(logs: Logs, redis: Redis, job_id: str) -> None:
    await written(redis, job_id, FENCE, attempt(), delta('{"type":"completed"}'))
    assert await append(logs, job_id, mark(FENCE + 1, 0, attempt(2))) is None


async def test_a_stale_workers_plain_append_is_refused_by_the_id_alone(redis: Redis, job_id: str) -> None:
    await written(redis, job_id, FENCE + 1, attempt(2))
    with pytest.raises(ResponseError, match="equal or smaller"):
        await written(redis, job_id, FENCE, delta("stale"))


async def test_reading_goes_on_after_any_cursor(
    logs: Logs, redis: Redis, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log of two attempts, longer than a page, and one that ends with a page
    monkeypatch.setattr(log_module, "PAGE", 4)
    entries = await written(redis, job_id, FENCE, attempt(), *(delta(str(n)) for n in range(6)))
    entries += await written(redis, job_id, FENCE + 9, attempt(2), *(delta(str(n)) for n in range(4)))
    assert len(entries) % 4 == 0
    # Then what is read after each cursor is the rest
    assert await read(logs, job_id) == await read(logs, job_id, START) == entries
    for index, entry in enumerate(entries):
        assert await read(logs, job_id, entry.cursor) == entries[index + 1 :]


async def test_the_last_entry_is_the_newest(logs: Logs, redis: Redis, job_id: str) -> None:
    assert await logs.last(job_id) is None
    entries = await written(redis, job_id, FENCE, attempt(), delta("a"))
    assert await logs.last(job_id) == entries[-1]
    assert not entries[-1].is_ending


async def test_a_deleted_log_is_gone(logs: Logs, redis: Redis, job_id: str) -> None:
    await written(redis, job_id, FENCE, attempt())
    await logs.delete(job_id)
    await logs.delete(job_id)
    assert await whole_log(redis, job_id) == []
    assert await redis.exists(keys.log(job_id)) == 0
