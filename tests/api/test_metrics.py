"""What Prometheus is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from edge_within import edge_at
from following import Client
from given import TENANT, chat, enqueued, eventually
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from tokentail.api import metrics as metrics_module
from tokentail.api.app import REDIS_SECONDS
from tokentail.shared import keys
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer

PID = str(os.getpid())
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"

Series = dict[tuple[str, ...], float]


class Edge:
    """The HTTP edge, and what its metrics say: (name, values of its labels by their order) → value."""

    def __init__(self, http: httpx.AsyncClient, app: Any) -> None:
        self.http = http
        self.app = app

    async def text(self) -> str:
        answer = await self.http.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return answer.text

    async def series(self) -> Series:
        return {
            (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(await self.text())
            for sample in family.samples
        }


def up(series: Series) -> dict[str, float]:
    """Which plane is up, where it is no cluster."""
    return {key[2]: value for key, value in series.items() if key[:2] == ("tokentail_redis_up", "")}


@asynccontextmanager
async def measured(url: str, **settings: Any) -> AsyncIterator[Edge]:
    async with edge_at(Settings(redis_url=url, **settings)) as (http, app):
        yield Edge(http, app)


@pytest.fixture
async def edge(redis_url: str) -> AsyncIterator[Edge]:
    async with measured(redis_url, max_queue=2) as edge:
        yield edge


async def test_the_queue_is_counted_by_what_its_jobs_wait_for(edge: Edge, redis: Redis, queue: Queue) -> None:
    # Given two queued jobs, one that runs, suspects and dead letters
    for _ in range(3):
        await enqueued(queue)
    await queue.claim("worker-1", 1)
    await redis.zadd(keys.SUSPECTS, {f"job_{number}": 1 for number in range(4)})
    await redis.zadd(keys.DEAD, {f"job_{number}": 1 for number in range(5)})
    # Then each is told
    series = await edge.series()
    assert series["tokentail_jobs_queued",] == 2
    assert series["tokentail_jobs_suspect",] == 4
    assert series["tokentail_jobs_running",] == 1
    assert series["tokentail_dead_letters",] == 5
    assert 0 < series["tokentail_redis_scrape_seconds",] < 10


async def test_workers_that_are_alive_are_counted_with_how_late_their_loops_are(
    edge: Edge, redis: Redis, queue: Queue
) -> None:
    # Given two workers that beat, and one that has been silent for longer than its lease
    await queue.renew("host:1:a", [], lag_seconds=0.25)
    await queue.renew("host:2:b", [])
    await queue.renew("host:3:c", [], lag_seconds=9)
    await redis.zadd(keys.WORKERS, {"host:3:c": (time.time() - 30) * 1000})
    # Then those that beat are told
    series = await edge.series()
    assert series["tokentail_workers_alive",] == 2
    name = "tokentail_worker_loop_lag_seconds"
    assert {key: value for key, value in series.items() if key[0] == name} == {
        (name, "host:1:a"): 0.25,
        (name, "host:2:b"): 0,
    }


async def test_the_process_tells_its_followers_and_how_late_its_own_loop_is(edge: Edge, queue: Queue) -> None:
    # Given three followers of two logs
    tails = edge.app.state.context.tails
    one, two = (await enqueued(queue)).id, (await enqueued(queue)).id
    clients = [Client(tails, one), Client(tails, one), Client(tails, two)]
    # And a loop that was busy
    edge.app.state.counts.lag.take(1.5, 100.0)
    # Then this process says so of itself
    series = await edge.series()
    assert series["tokentail_api_followers", PID] == 3
    assert series["tokentail_api_watched_logs", PID] == 2
    assert series["tokentail_api_loop_lag_seconds", PID] == 1.5
    for client in clients:
        await client.gone()
    assert (await edge.series())["tokentail_api_followers", PID] == 0


async def test_the_loop_of_the_process_is_measured_as_it_runs(edge: Edge) -> None:
    await eventually(lambda: edge.app.state.counts.lag.samples > 0)


async def test_refused_submissions_are_counted_by_code(edge: Edge) -> None:
    # Given submissions of which some are refused, and other requests that are
    good = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
    answers = [
        await edge.http.post("/v1/jobs", json=body)
        for body in (good, good, good, {**good, "model": "none"}, {**good, "nonsense": 1}, {**good, "x": 1})
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 503, 422, 422, 422]
    assert (await edge.http.get("/v1/jobs/job_unknown")).status_code == 404
    assert (await edge.http.post("/v1/jobs/job_unknown/cancel")).status_code == 404
    # Then only those are counted
    name = "tokentail_api_submissions_refused_total"
    series = await edge.series()
    assert {key[1]: value for key, value in series.items() if key[0] == name} == {
        "queue_full": 1,
        "unknown_model": 1,
        "invalid_request": 2,
    }


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_without_redis_is_told_that_it_is_away_and_what_else_is_known(
    new_redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(metrics_module, "REDIS_SECONDS", 0.2)
    server = new_redis_server()
    async with measured(server.url) as edge:
        assert up(await edge.series()) == {"control": 1, "log": 1}
        # When Redis is gone, or takes connections and says nothing
        if how == "gone":
            server.kill()
        else:
            os.kill(server.pid, signal.SIGSTOP)
        try:
            # Then the scrape is answered, and says so
            series = await edge.series()
            assert up(series) == {"control": 0, "log": 0}
            # And in time, though a command may wait for Redis for longer
            assert series["tokentail_redis_scrape_seconds",] < REDIS_SECONDS
            assert series["tokentail_api_followers", PID] == 0
            # And nothing is invented
            assert ("tokentail_jobs_queued",) not in series
            # And submissions that fail for it are counted
            if how == "gone":
                good = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
                assert (await edge.http.post("/v1/jobs", json=good)).status_code == 503
                refused = (await edge.series())["tokentail_api_submissions_refused_total", "unavailable", PID]
                assert refused == 1
        finally:
            if how == "silent":
                os.kill(server.pid, signal.SIGCONT)


async def test_each_plane_is_told_by_itself(
    redis_url: str, new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given logs on a server of their own, which goes away
    logs = new_redis_server()
    async with measured(redis_url, log_redis_url=logs.url) as edge:
        assert up(await edge.series()) == {"control": 1, "log": 1}
        logs.kill()
        # Then only the logs are said to be away, and what the queue's Redis knows is told
        series = await edge.series()
        assert up(series) == {"control": 1, "log": 0}
        assert series["tokentail_jobs_queued",] == 0


async def test_the_process_tells_how_much_memory_it_has(edge: Edge) -> None:
    resident = (await edge.series())["process_resident_memory_bytes", PID]
    # An interpreter with what an API imports has more than 20 MB, and this machine less than a terabyte.
    assert 20e6 < resident < 1e12


async def test_nothing_of_a_tenant_a_job_or_a_prompt_is_told(edge: Edge, queue: Queue) -> None:
    record, _ = await queue.enqueue("tenant-7", chat("a secret prompt"), "a secret key")
    (claim,) = (await queue.claim("host:1:a", 1)).jobs
    await queue.renew("host:1:a", [(claim.job_id, claim.fence)])
    text = await edge.text()
    for word in ("tenant-7", TENANT, record.id, "secret", "demo"):
        assert word not in text


async def test_the_document_lists_each_metric_and_no_other(edge: Edge, queue: Queue) -> None:
    await queue.renew("host:1:a", [])
    await edge.http.post("/v1/jobs", content=b"{")
    edge.app.state.context.draining = True
    await edge.http.get("/v1/jobs/job_1/events")
    names = {key[0] for key in await edge.series()}
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert {row.split("`")[1] for row in rows} == names
