"""Clients that come and go leave nothing behind.

For a minute at the pace of a thousand a second instead of a moment as fast as it goes, with its figures:
TOKENTAIL_TEST_CHURN_SECONDS=60 make test ARGS="tests/edge/test_churn.py -s"
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import uvicorn
from api_process import Api
from churn import WAYS, Jobs, churn
from given import attempt, completed, delta, enqueued, eventually, written
from processes import until

from tokentail.api.app import create_app
from tokentail.api.context import Context
from tokentail.api.follower import Follower
from tokentail.api.wire import WireProtocol
from tokentail.shared import redis as store
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

SECONDS = float(os.environ.get("TOKENTAIL_TEST_CHURN_SECONDS", "0"))
#: Clients of each of the two rounds, and how many a second at most, if there is time.
COUNT = 1500
RATE = 1000.0

FENCE = 1_763_881_234_567
#: A few followed logs fit, the long one does not.
MAX_TAIL_BYTES = 64 * 1024
LIVE = [attempt(), delta("a")]
ENDED = [*LIVE, completed()]
LONG = [attempt(), *(delta("x" * 1000) for _ in range(80))]

#: A second round like the first may take more memory than that by so much: what the allocator does with its
#: pages. A leaked follower alone would take a kilobyte, a leaked connection ten, so 1,500 of them 15 MB.
TOLERANCE_BYTES = 2 * 1024 * 1024
#: All that an API process has to Redis, whatever it serves.
REDIS_CONNECTIONS = 5


def jobs_at(api: Api) -> Jobs:
    jobs = Jobs(api.submit(), api.submit(), api.submit())
    api.write(jobs.live, FENCE, 0, LIVE)
    api.write(jobs.ended, FENCE, 0, ENDED)
    api.write(jobs.long, FENCE, 0, LONG)
    return jobs


def round_of(api: Api, jobs: Jobs) -> tuple[int, float]:
    """How many clients there were, and in how many seconds."""
    began = time.monotonic()

    def is_enough(count: int) -> bool:
        passed = time.monotonic() - began
        if not SECONDS:
            return count >= COUNT
        # Nothing is waited for but the clock: the pace is the aim.
        time.sleep(max(0.0, count / RATE - passed))
        return passed >= SECONDS / 2

    count = churn(api.address, jobs, is_enough)
    until(lambda: api.metric("followers") == 0, "nobody follows any more")
    return count, time.monotonic() - began


def held(api: Api) -> dict[str, Any]:
    """What a process holds when all have gone."""
    redis_port = api.redis.connection_pool.connection_kwargs["port"]
    connections = [it for it in api.process.net_connections("tcp") if it.raddr]
    return {
        "descriptors": api.process.num_fds(),
        "threads": api.process.num_threads(),
        "to Redis": sum(it.raddr.port == redis_port for it in connections),
        "to clients": sum(it.laddr.port == api.address[1] for it in connections),
    }


def test_a_process_holds_no_more_after_thousands_came_and_went_than_before(
    start_api: Callable[..., Api],
) -> None:
    # Given an API that has served clients of each kind
    api = start_api(TOKENTAIL_MAX_TAIL_BYTES=str(MAX_TAIL_BYTES), TOKENTAIL_PING_SECONDS="0.3")
    jobs = jobs_at(api)
    first = round_of(api, jobs)
    until(lambda: held(api)["to clients"] == 0, "all connections are closed")
    before, rss_before = held(api), api.process.memory_info().rss
    # When as many come and go once more
    second = round_of(api, jobs)
    # Then it has as many descriptors, threads and connections as before
    until(lambda: held(api)["to clients"] == 0, "all connections are closed")
    until(lambda: held(api)["descriptors"] <= before["descriptors"], f"what it held: {before}")
    now, rss = held(api), api.process.memory_info().rss
    assert now["threads"] <= before["threads"]
    assert now["to Redis"] <= REDIS_CONNECTIONS
    # And memory
    if SECONDS:
        print(f"\n{first=} {second=} {before=} {now=} {rss_before=} {rss=}")
    assert rss - rss_before <= TOLERANCE_BYTES
    # And watches no more than the logs that somebody followed
    assert api.metric("watched_logs") <= len({jobs.live, jobs.ended, jobs.long})
    # And nothing in it has failed
    assert not [line for line in api.running.lines if "rror" in line]


# Within one process, where what can't be seen from outside can be counted


class _Server(uvicorn.Server):
    def capture_signals(self) -> Any:
        return nullcontext()  # They are the tests'.


@asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[tuple[tuple[str, int], Context]]:
    """The API in this very process: its address and its context."""
    contexts: list[Context] = []
    config = uvicorn.Config(
        create_app(settings, on_started=contexts.append),
        http=WireProtocol,
        interface="asgi3",
        proxy_headers=False,
        ws="none",
        lifespan="on",
        log_config=None,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        await eventually(lambda: server.started)
        yield listener.getsockname(), contexts[0]
        server.should_exit = True
        await serving


def _alive(*kinds: type) -> int:
    """How many objects of these kinds there are."""
    gc.collect()
    return sum(isinstance(it, kinds) for it in gc.get_objects())


async def test_no_task_follower_or_connection_stays_behind(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, max_tail_bytes=MAX_TAIL_BYTES, ping_seconds=0.3)
    async with store.client(redis_url) as redis:
        ids = [(await enqueued(Queue(redis, settings))).id for _ in range(3)]
        for job_id, log in zip(ids, (LIVE, ENDED, LONG), strict=True):
            await written(redis, job_id, FENCE, *log)
    async with _served(settings) as (address, context):
        before = len(asyncio.all_tasks()) + 1  # Who hears from Redis, from the first client on.
        # When clients of each kind have come and gone
        await asyncio.to_thread(churn, address, Jobs(*ids), lambda count: count >= 4 * len(WAYS) * 5)
        # Then nothing is left of them but the logs
        await eventually(lambda: len(asyncio.all_tasks()) <= before)
        await eventually(lambda: _alive(Follower, WireProtocol) == 0)
        assert len(context.tails.all()) <= len(ids)
        assert all(not (tail.followers or tail.live or tail.waiting) for tail in context.tails.all())
