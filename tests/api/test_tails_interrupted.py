"""A reader that loses Redis loses no follower, and tells none of them a lie."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from following import Client, tails_at, told
from given import attempt, completed, delta, eventually, written
from redis.asyncio import Redis

from tokentail.api import reader as reader_module
from tokentail.api.tails import Tails
from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.job import new_id
from tokentail.stack.redis_server import RedisServer

FENCE = 1_763_881_234_567


async def test_a_reader_whose_connection_is_killed_goes_on_where_it_was(
    tails: Tails, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "LOOK_SECONDS", 3600.0)
    job_id = new_id()
    client = Client(tails, job_id)
    log = [attempt(), *(delta(str(n)) for n in range(60)), completed()]
    for seq, event in enumerate(log):
        if seq % 7 == 3:
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await written(redis, job_id, FENCE, event, seq=seq)
    assert await client.ended() == told(FENCE, *log)


async def test_followers_survive_a_restart_of_redis(new_redis_server: Callable[..., RedisServer]) -> None:
    server = new_redis_server()
    job_id, other = new_id(), new_id()
    async with tails_at(server.url) as tails, store.client(server.url) as redis:
        # Given a client in mid-log
        client = Client(tails, job_id)
        await written(redis, job_id, FENCE, attempt(), delta("a"))
        await eventually(lambda: len(client.events) == 2)
        # When Redis crashes, and another client comes meanwhile
        server.kill()
        late = Client(tails, other)
        await asyncio.sleep(0)
        server.start()
        await eventually(lambda: _answers(redis))
        await written(redis, job_id, FENCE, delta("b"), completed(), seq=2)
        await written(redis, other, FENCE, attempt(), completed())
        # Then both are told everything once
        assert await client.ended() == told(FENCE, attempt(), delta("a"), delta("b"), completed())
        assert await late.ended() == told(FENCE, attempt(), completed())


async def _answers(redis: Redis) -> bool:
    try:
        with store.away_is_unavailable():
            return bool(await redis.ping())
    except store.StoreUnavailable:
        return False


async def test_clients_that_have_seen_what_redis_forgot_are_told_no_lie(tails: Tails, redis: Redis) -> None:
    # Given a client that has seen three entries, of which Redis then loses two
    job_id = new_id()
    client = Client(tails, job_id)
    await written(redis, job_id, FENCE, attempt(), delta("a"), delta("b"))
    await eventually(lambda: len(client.events) == 3)
    await redis.delete(keys.log(job_id))
    await written(redis, job_id, FENCE, attempt())
    # When the owner appends them again with the same ids and goes on
    await written(redis, job_id, FENCE, delta("a"), delta("b"), delta("c"), completed(), seq=1)
    # Then the client hears only what is new to it
    assert await client.ended() == told(FENCE, attempt(), delta("a"), delta("b"), delta("c"), completed())
