"""With TOKENTAIL_WAIT_REPLICAS, what is acknowledged is on a replica, too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from given import RESULT, TENANT, chat, completed, enqueued, eventually, running
from redis.asyncio import Redis
from sentinels import Sentineled, client_of

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.durable import WAIT_SECONDS, WAITING_AT_ONCE, Durable, Script
from tokentail.shared.errors import JobNotFound, StoreUnavailable
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer


@pytest.fixture
def pair(new_sentineled: Callable[..., Sentineled]) -> Sentineled:
    """A primary with one replica; nobody looks after them."""
    return new_sentineled(sentinels=0)


@pytest.fixture
async def redis(pair: Sentineled) -> AsyncIterator[Redis]:
    """A client with as many connections as a process of the API has."""
    async with store.client(pair.primary.url, connections=2 * WAITING_AT_ONCE, timeout_seconds=2) as client:
        yield client


@contextlib.contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def end(script: Script, job_id: str) -> object:
    """Run `append` with an ending: a script that writes once and may be repeated."""
    return await script([keys.log(job_id)], ["1-0", b'{"type":"completed"}', 60_000])


async def test_what_a_durable_script_has_answered_is_on_the_replica(pair: Sentineled, redis: Redis) -> None:
    append = Durable(1).script(redis, "append")
    for number in range(50):
        # When a script that writes has answered
        await end(append, f"job_{number}")
        # Then the replica has what it wrote
        with client_of(pair.replicas[0]) as replica:
            assert replica.xlen(keys.log(f"job_{number}")) == 1


async def test_a_replica_that_does_not_confirm_is_told_as_redis_being_away(
    pair: Sentineled, redis: Redis
) -> None:
    append = Durable(1).script(redis, "append")
    # When the replica hangs; Then what was written is not acknowledged
    with frozen(pair.replicas[0]):
        with pytest.raises(StoreUnavailable, match="replicas of Redis"):
            await end(append, "job")
        # And nor is a repetition that has nothing to write
        with pytest.raises(StoreUnavailable, match="replicas of Redis"):
            await end(append, "job")
    # And both are when it is back
    await store.until_available(lambda: end(append, "job"))
    with client_of(pair.replicas[0]) as replica:
        assert replica.xlen(keys.log("job")) == 1


async def test_more_replicas_than_there_are_acknowledge_nothing(redis: Redis) -> None:
    append = Durable(2).script(redis, "append")
    with pytest.raises(StoreUnavailable, match="replicas of Redis"):
        await end(append, "job")


async def test_without_replicas_to_wait_for_nothing_is_waited_for(pair: Sentineled, redis: Redis) -> None:
    append = Durable(0).script(redis, "append")
    with frozen(pair.replicas[0]):
        assert (await end(append, "job"))[0] == b"written"  # type: ignore[index]


async def test_reading_goes_on_while_writes_wait_for_a_replica(pair: Sentineled, redis: Redis) -> None:
    append = Durable(1).script(redis, "append")
    await end(append, "job")
    # Given a crowd whose writes wait for a replica that hangs
    with frozen(pair.replicas[0]):
        crowd = [asyncio.create_task(end(append, f"job_{number}")) for number in range(20)]
        await eventually(lambda: _one_waits(pair.primary))
        # When somebody reads; Then it is answered before any of them is
        assert await redis.xlen(keys.log("job")) == 1
        assert not any(task.done() for task in crowd)
        # And none of them waits for all the others' time
        async with asyncio.timeout(4 * WAIT_SECONDS):
            answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}


def _one_waits(server: RedisServer) -> bool:
    with client_of(server) as client:
        return bool(client.info("clients")["blocked_clients"])


async def test_a_caller_that_gives_up_leaves_its_turn_to_others(pair: Sentineled, redis: Redis) -> None:
    append = Durable(1).script(redis, "append")
    # Given callers that were cancelled while they waited, and while they waited for their turn
    with frozen(pair.replicas[0]):
        crowd = [asyncio.create_task(end(append, f"job_{number}")) for number in range(6)]
        await eventually(lambda: _one_waits(pair.primary))
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    # Then the next ones are served
    await store.until_available(lambda: end(append, "job"))


async def test_a_server_that_has_forgotten_the_scripts_is_taught_again(redis: Redis) -> None:
    append = Durable(1).script(redis, "append")
    await end(append, "job")
    await redis.script_flush()
    assert (await end(append, "job"))[0] == b"written"  # type: ignore[index]


# The queue


@pytest.fixture
def queue(redis: Redis, pair: Sentineled) -> Queue:
    return Queue(redis, Settings(redis_url=pair.primary.url, wait_replicas=1))


async def test_a_job_that_was_not_confirmed_is_found_again_under_its_key(
    pair: Sentineled, queue: Queue
) -> None:
    # Given a submit that was refused because no replica confirmed it
    with frozen(pair.replicas[0]), pytest.raises(StoreUnavailable):
        await queue.enqueue(TENANT, chat(), "key")
    # When the client tries again; Then it is the same job, stored before
    _, is_new = await store.until_available(lambda: queue.enqueue(TENANT, chat(), "key"))
    assert not is_new
    assert len((await queue.list_jobs(TENANT, status=None, limit=10, after=None))[0]) == 1


async def test_no_ending_cancel_or_deletion_is_acknowledged_without_a_replica(
    pair: Sentineled, queue: Queue
) -> None:
    # Given a job that runs and two that wait
    claim = await running(queue)
    queued, doomed = await enqueued(queue), await enqueued(queue)
    ending = completed()
    deeds = [
        lambda: queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), ending, RESULT),
        lambda: queue.cancel(TENANT, queued.id),
        lambda: queue.delete(TENANT, doomed.id),
    ]
    with frozen(pair.replicas[0]):
        # When no replica confirms; Then nobody is told that it is done
        for deed in deeds:
            with pytest.raises(StoreUnavailable, match="replicas of Redis"):
                await deed()
        # And what promises nothing goes on: claiming, renewing, reading
        await queue.claim("worker-2", 1)
        await queue.renew("worker-1", [])
        assert (await queue.get(TENANT, queued.id)).status == "cancelled"
    # And it can be said again
    assert await store.until_available(deeds[0]) == "finished"
    assert await store.until_available(deeds[1]) == "ended"
    with pytest.raises(JobNotFound):
        await store.until_available(deeds[2])


async def test_a_job_found_again_on_a_former_primary_is_not_acknowledged(
    pair: Sentineled, queue: Queue, redis: Redis
) -> None:
    await queue.enqueue(TENANT, chat(), "key")
    # When the primary is demoted; Then it can't vouch even for what it only looks up
    with client_of(pair.primary) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(StoreUnavailable):
        await queue.enqueue(TENANT, chat(), "key")
