"""`GET /metrics`: what Prometheus is told of the installation, and of the process that answers.

Never a tenant, a job or a prompt. `docs/metrics.md` lists the names, which are a contract.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from tokentail.api.context import Context, context_of
from tokentail.api.problems import Problem
from tokentail.api.servers import CONTROL, Answer, ping
from tokentail.api.submission import SUBMITS
from tokentail.shared import keys, tasks
from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.lag import LoopLag

#: A scrape does not wait longer for Redis: it says what it knows, well within Prometheus's own ten seconds.
REDIS_SECONDS = 2.0

#: Workers looked at per scrape, those that beat last: an installation has some dozens.
_WORKERS = 1000


@dataclass
class Counts:
    """What this process counts for itself, from its start."""

    lag: LoopLag = field(default_factory=LoopLag)
    #: Refused submissions by the code of the refusal.
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Installation:
    """What Redis says. `lags`: seconds, by the id of each worker that is alive."""

    queued: int
    suspects: int
    running: int
    dead: int
    lags: dict[str, float]


@asynccontextmanager
async def _measured(app: FastAPI) -> AsyncIterator[None]:
    app.state.counts = Counts()
    measuring = asyncio.create_task(app.state.counts.lag.run())
    try:
        yield
    finally:
        await tasks.end(measuring)


router = APIRouter(tags=["health"], lifespan=_measured)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The metrics in Prometheus's text format; also, with what is known then, while Redis is away."""
    context, counts = context_of(request), request.app.state.counts
    began = time.monotonic()
    installation, answers = await asyncio.gather(
        _look(context), context.servers.ask(ping, timeout_seconds=REDIS_SECONDS)
    )
    seconds = time.monotonic() - began
    families = _Families(
        [_up(installation, answers), *_of_redis(installation, seconds), *_of_process(context, counts)]
    )
    registry = CollectorRegistry()
    registry.register(families)
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def count_refusal(request: Request, problem: Problem) -> None:
    """Count a refusal if it is one of a submission."""
    if (request.method, request.url.path) in SUBMITS:
        request.app.state.counts.refused[problem.body["code"]] += 1


async def _look(context: Context) -> Installation | None:
    """None if Redis does not say."""
    try:
        with store.away_is_unavailable():
            async with asyncio.timeout(REDIS_SECONDS):
                return await _read(context.redis, context.settings.lease_seconds)
    except (StoreUnavailable, TimeoutError):
        return None


async def _read(redis: Redis, lease_seconds: float) -> Installation:
    pipe = redis.pipeline(transaction=False)
    pipe.time()
    for zset in (keys.READY, keys.SUSPECTS, keys.LEASES, keys.DEAD):
        pipe.zcard(zset)
    pipe.zrevrange(keys.WORKERS, 0, _WORKERS - 1, withscores=True)
    pipe.hgetall(keys.LAG)
    (seconds, micros), queued, suspects, running, dead, workers, lags = await pipe.execute()
    # One that has been silent for a whole lease has lost its jobs.
    since = seconds * 1000 + micros // 1000 - lease_seconds * 1000
    alive = {name.decode(): int(lags.get(name, 0)) / 1000 for name, beat in workers if beat >= since}
    return Installation(queued, suspects, running, dead, alive)


def _up(installation: Installation | None, answers: list[Answer[None]]) -> Metric:
    family = GaugeMetricFamily(
        "tokentail_redis_up",
        "Whether Redis answered this scrape, by plane and node of a cluster (the same from every process)",
        labels=["plane", "node"],
    )
    for answer in answers:
        for plane in answer.server.planes:
            is_up = installation is not None if plane == CONTROL else answer.error is None
            family.add_metric([plane, answer.server.node], is_up)
    return family


def _of_redis(installation: Installation | None, seconds: float) -> Iterator[Metric]:
    def gauge(name: str, help_text: str, value: float) -> Metric:
        return GaugeMetricFamily(f"tokentail_{name}", f"{help_text} (the same from every process)", value)

    yield gauge("redis_scrape_seconds", "How long this scrape waited for Redis", seconds)
    if installation is None:
        return
    yield gauge("jobs_queued", "Jobs that wait to be claimed", installation.queued)
    yield gauge("jobs_suspect", "Jobs that have crashed and wait to run alone", installation.suspects)
    yield gauge("jobs_running", "Jobs that a worker holds a lease of", installation.running)
    yield gauge("dead_letters", "Dead letters that are kept", installation.dead)
    yield gauge("workers_alive", "Workers that renewed within the last lease", len(installation.lags))
    lags = GaugeMetricFamily(
        "tokentail_worker_loop_lag_seconds",
        "How late a worker's event loop was at worst in the last ten seconds (the same from every process)",
        labels=["worker"],
    )
    for worker, lag in installation.lags.items():
        lags.add_metric([worker], lag)
    yield lags


def _of_process(context: Context, counts: Counts) -> Iterator[Metric]:
    pid = str(os.getpid())

    def gauge(name: str, help_text: str, value: float) -> Metric:
        whole_help = f"{help_text} (of the process that answered)"
        family = GaugeMetricFamily(f"tokentail_api_{name}", whole_help, labels=["pid"])
        family.add_metric([pid], value)
        return family

    if (resident := _resident_bytes()) is not None:
        family = GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Resident memory size in bytes (of the process that answered)",
            labels=["pid"],
        )
        family.add_metric([pid], resident)
        yield family
    tails = context.tails
    yield gauge("loop_lag_seconds", "How late its event loop was at worst lately", counts.lag.seconds)
    yield gauge("followers", "Followers it serves", sum(len(tail.followers) for tail in tails.followed()))
    held = len(tails.all())
    yield gauge("watched_logs", "Logs it holds for them, and for those that left a moment ago", held)
    yield gauge("streams", "Streams that are open, of at most TOKENTAIL_MAX_STREAMS", context.streams.open)
    yield _refused("submissions", "Submissions", pid, counts.refused)
    yield _refused("streams", "Streams", pid, context.streams.refused)


def _refused(name: str, what: str, pid: str, by_code: Counter[str]) -> Metric:
    family = CounterMetricFamily(
        f"tokentail_api_{name}_refused",
        f"{what} it refused, by the code of the refusal (of the process that answered)",
        labels=["pid", "code"],
    )
    for code, count in sorted(by_code.items()):
        family.add_metric([pid, code], count)
    return family


def _resident_bytes() -> int | None:
    """None where the system does not say it in Linux's way."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


class _Families(Collector):
    """Metrics that are already known, as the library wants to be given them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
