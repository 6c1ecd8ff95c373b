"""However little memory there is for logs: every client sees every entry, once, in order."""

from __future__ import annotations

import asyncio
import random

import pytest
from following import Client, tails_at, told
from given import attempt, completed, delta, eventually, written
from redis.asyncio import Redis

from tokentail.api import reader as reader_module
from tokentail.api.tails import TAIL_BYTES, Tails
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id

FENCE = 1_763_881_234_567
LOG = [attempt(), *(delta(f"{n:03}" * 10) for n in range(60)), completed()]


def held_bytes(tails: Tails) -> int:
    """A recount."""
    return sum(TAIL_BYTES + len(tail._held) + 8 * len(tail._ends) for tail in tails.all())


async def test_what_was_followed_longest_ago_goes_first_and_who_needs_it_reads_it_again(
    redis_url: str, redis: Redis
) -> None:
    jobs = [new_id() for _ in range(5)]
    for job_id in jobs:
        await written(redis, job_id, FENCE, *LOG)
    # Given room for two logs
    async with tails_at(redis_url, max_bytes=24_000) as tails:
        # When five are read, one after the other
        for job_id in jobs:
            assert await Client(tails, job_id).ended() == told(FENCE, *LOG)
            assert held_bytes(tails) == tails._held <= 24_000
        # Then the last two are there
        assert [tail.job_id for tail in tails.all()] == jobs[3:]
        # And all can be read again
        for job_id in jobs:
            assert await Client(tails, job_id).ended() == told(FENCE, *LOG)


async def test_a_log_that_is_longer_than_all_memory_is_followed_live_and_resumed_from_everywhere(
    redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given room for a few entries, and a log that grows
    monkeypatch.setattr(reader_module, "PAGE", 7)
    job_id, dice = new_id(), random.Random(3)
    async with tails_at(redis_url, max_bytes=TAIL_BYTES + 600) as tails:
        live = Client(tails, job_id)
        coming: list[tuple[int, Client]] = []
        for seq, event in enumerate(LOG):
            await written(redis, job_id, FENCE, event, seq=seq)
            # When somebody comes with a cursor of what is written so far
            index = dice.randrange(seq + 1)
            after = START if index == 0 else Cursor(FENCE, index - 1)
            coming.append((index, Client(tails, job_id, after)))
            await asyncio.sleep(dice.choice((0, 0, 0.003)))
        # Then all hear the rest, whatever of it was in memory when
        assert await live.ended() == told(FENCE, *LOG)
        for index, client in coming:
            assert await client.ended() == told(FENCE, *LOG)[index:]
        await eventually(lambda: tails._held <= TAIL_BYTES + 600)
        assert tails._held == held_bytes(tails)


async def test_every_cursor_resumes_the_rest_also_while_the_log_is_forgotten_and_read_anew(
    redis_url: str, redis: Redis
) -> None:
    # Given clients with every cursor of a log that is being written
    job_id = new_id()
    async with tails_at(redis_url) as tails:
        await written(redis, job_id, FENCE, *LOG[:30])
        first = [Client(tails, job_id, Cursor(FENCE, number)) for number in range(30)]
        for client in first:
            await eventually(lambda client=client: client.follower.tail.is_loaded)  # type: ignore[misc]
        # When the log is forgotten in mid-stream
        (tail,) = tails.all()
        tails.forget(tail)
        seen = [await client.ended() for client in first]
        # And they come back to go on
        last = [
            Cursor.parse(events[-1][0] or "") if events else Cursor(FENCE, n) for n, events in enumerate(seen)
        ]
        again = [Client(tails, job_id, cursor) for cursor in last]
        for seq in range(30, len(LOG)):
            await written(redis, job_id, FENCE, LOG[seq], seq=seq)
        # Then each has seen the rest of the whole
        for number, client in enumerate(again):
            assert seen[number] + await client.ended() == told(FENCE, *LOG)[number + 1 :]
