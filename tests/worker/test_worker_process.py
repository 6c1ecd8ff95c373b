"""What a worker's event loop may go through, told by real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from given import TENANT, enqueued, eventually
from processes import PATIENCE_SECONDS, Running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.job import Status
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer
from tokentail.worker.stall import EXIT_CODE

HERE = Path(__file__).parent
ODD_WORKER = (sys.executable, str(HERE / "odd_worker.py"))

LEASE_SECONDS = 2.0


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, lease_seconds=LEASE_SECONDS)


def environment(url: str) -> dict[str, str]:
    return {
        "TOKENTAIL_REDIS_URL": url,
        "TOKENTAIL_LEASE_SECONDS": str(LEASE_SECONDS),
        "TOKENTAIL_DEMO_URL": "http://127.0.0.1:1/v1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path]),
    }


@pytest.fixture
def start_worker() -> Iterator[Callable[..., Running]]:
    """Starts a worker with a model that obeys its request; ready when it returns."""
    started: list[Running] = []

    def start(url: str, stall_seconds: float | None = None) -> Running:
        options = [] if stall_seconds is None else [str(stall_seconds)]
        worker = Running([*ODD_WORKER, *options], env=environment(url))
        started.append(worker)
        worker.wait_for(r"worker \S+ ready")
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            os.kill(worker.pid, signal.SIGCONT)
        worker.close()


@pytest.fixture
async def own_redis(new_redis_server: Callable[..., RedisServer]) -> AsyncIterator[RedisServer]:
    server = new_redis_server()
    yield server
    os.kill(server.pid, signal.SIGCONT)


async def until_it_speaks(redis: Redis, job_id: str) -> None:
    async def spoke() -> bool:
        return await redis.xlen(keys.log(job_id)) > 1

    await eventually(spoke)


async def test_work_longer_than_the_lease_costs_no_job(
    redis: Redis, redis_url: str, queue: Queue, start_worker: Callable[..., Running]
) -> None:
    # Given a worker that is busy for three leases in the middle of a generation
    start_worker(redis_url)
    record = await enqueued(queue, content=f"busy {3 * LEASE_SECONDS}")

    # When another one claims whatever it can get all the while
    async def is_over() -> bool:
        assert not (await queue.claim("thief", 1)).jobs
        return (await queue.get(TENANT, record.id)).has_ended

    await until_it_speaks(redis, record.id)
    await eventually(is_over)
    # Then the job completes where it began
    ended = await queue.get(TENANT, record.id)
    assert (ended.status, ended.attempt, ended.crashes) == (Status.COMPLETED, 1, 0)


async def test_a_worker_cut_off_from_redis_closes_its_providers_connection_before_its_lease_ends(
    own_redis: RedisServer, start_worker: Callable[..., Running]
) -> None:
    settings = Settings(redis_url=own_redis.url, lease_seconds=LEASE_SECONDS)
    async with store.client(own_redis.url) as redis:
        queue = Queue(redis, settings)
        worker = start_worker(own_redis.url)
        record = await enqueued(queue, content="wait")
        await until_it_speaks(redis, record.id)
        # When Redis takes connections but answers no more
        os.kill(own_redis.pid, signal.SIGSTOP)
        frozen_at = time.monotonic()
        # Then nothing is generated any more when the last lease that it can have given is over
        closed_at = float(worker.wait_for(r"closed at (\S+)")[1])
        assert closed_at - frozen_at < LEASE_SECONDS
        # And when Redis is back, the job is given back, and is said to be lost, not to have crashed
        os.kill(own_redis.pid, signal.SIGCONT)

        async def begun_again() -> bool:
            return (await queue.get(TENANT, record.id)).attempt == 2

        await eventually(begun_again)
        again = await queue.get(TENANT, record.id)
        assert (again.reason, again.crashes) == ("lost", 0)


async def test_a_worker_whose_loop_hangs_ends_itself_and_its_jobs_go_on_elsewhere(
    redis: Redis, redis_url: str, queue: Queue, start_worker: Callable[..., Running]
) -> None:
    # Given a worker whose event loop never comes back
    worker = start_worker(redis_url, 1)
    record = await enqueued(queue, content="hang")
    await until_it_speaks(redis, record.id)
    # Then it ends, as what its supervisor replaces, with one line that says where it hung
    assert worker.wait() == EXIT_CODE, worker.said
    (line,) = [line for line in worker.lines if "hangs" in line]
    assert "time.sleep(3600)" in line

    # And its job is another one's when the lease has lapsed
    async def taken_over() -> bool:
        return bool((await queue.claim("worker-2", 1)).jobs)

    await eventually(taken_over)
    assert (await queue.get(TENANT, record.id)).attempt == 2


async def test_a_worker_that_hangs_because_nobody_reads_its_log_ends_itself_too(
    redis: Redis, redis_url: str, queue: Queue
) -> None:
    # Given a worker that is stuck in a line that it logs
    reader, writer = os.pipe()
    worker = await asyncio.create_subprocess_exec(
        *ODD_WORKER, "1", env={**os.environ, **environment(redis_url)}, stdout=writer, stderr=writer
    )
    os.close(writer)
    await enqueued(queue, content="shout")
    # Then it ends without having told
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await worker.wait() == EXIT_CODE
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            worker.kill()


async def test_a_worker_that_was_frozen_has_not_hung(
    redis: Redis, redis_url: str, queue: Queue, start_worker: Callable[..., Running]
) -> None:
    # Given a worker that was stopped for longer than its loop may hang, and than its lease
    worker = start_worker(redis_url, 1)
    lost = await enqueued(queue, content="wait")
    await until_it_speaks(redis, lost.id)
    os.kill(worker.pid, signal.SIGSTOP)

    async def taken_over() -> bool:
        return bool((await queue.claim("worker-2", 1)).jobs)

    await eventually(taken_over)
    # When it is woken; Then it closes its provider's connection, gives that job up, and works on
    os.kill(worker.pid, signal.SIGCONT)
    worker.wait_for("closed at")
    worker.wait_for(r'"outcome": "lost"')
    quick = await enqueued(queue, content="quick")

    async def ended() -> bool:
        return (await queue.get(TENANT, quick.id)).status == Status.COMPLETED

    await eventually(ended)
    assert worker.process.poll() is None


def test_a_heart_that_beats_keeps_no_process_alive(redis_url: str) -> None:
    # Given a program that ends without having stopped its heartbeat, which has told it of a renewal
    code = f"""
import asyncio
from tokentail.shared.lag import LoopLag
from tokentail.shared.settings import Settings
from tokentail.worker.heartbeat import Heartbeat, own_queue

async def main():
    settings = Settings(redis_url="{redis_url}")
    queue = lambda: own_queue(settings)
    beaten = asyncio.Event()
    hear = lambda *_: beaten.set()
    heartbeat = Heartbeat("w", 10, open_queue=queue, held=dict, hear=hear, lag=LoopLag())
    heartbeat.start()
    await beaten.wait()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0
