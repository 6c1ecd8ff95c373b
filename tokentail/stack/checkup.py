"""What `tokentail doctor` looks at: each check is one finding with a verdict and, if need be, advice."""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from tokentail.shared import keys
from tokentail.shared.errors import ConfigError
from tokentail.shared.lag import SLOW_SECONDS
from tokentail.shared.models import ModelList
from tokentail.shared.redis import OLDEST_VERSION
from tokentail.shared.settings import PREFIX, Settings
from tokentail.stack.environment import referenced_names

#: A server that takes longer than this to answer at all can't carry a live stream.
TIMEOUT_SECONDS = 3.0
PINGS = 21
#: A token costs two trips, writing and reading; beyond this a reader begins to see them.
SLOW_PING_MS = 5.0
#: Redis's clock decides everything; a difference only makes our logs hard to read beside its.
CLOCK_SECONDS = 1.0
#: Share of the largest queue at which an operator wants to know.
QUEUE_ALARM = 0.8


class Verdict(StrEnum):
    OK = "ok"
    #: It works, but not as it should, or not for everybody.
    WARN = "warn"
    #: Jobs can't run, or can be lost.
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `advice` is a sentence, there unless all is well."""

    check: str
    verdict: Verdict
    found: str
    advice: str | None = None


def check_up(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Look at everything. Never raises for what it finds; an answer with a FAIL is bad news."""
    return [*_planes(settings), *_models(settings, environment)]


def worker_is_alive(settings: Settings, host: str | None = None) -> bool:
    """Whether a worker of this host, in a container this one, has renewed its leases lately."""
    host = host or socket.gethostname()
    try:
        with _connect(settings.redis_url) as client:
            return any(
                worker.rpartition(":")[0].rpartition(":")[0] == host for worker in _live(client, settings)
            )
    except (redis.RedisError, OSError):
        return False


def _planes(settings: Settings) -> Iterator[Finding]:
    yield from _server("redis", settings.redis_url, settings)
    if settings.log_url != settings.redis_url:
        yield from _server("log redis", settings.log_url, settings)


def _server(name: str, url: str, settings: Settings) -> Iterator[Finding]:
    try:
        with _connect(url) as client:
            info = client.info()
            yield _version(name, info)
            yield _policy(name, info)
            yield _role(name, info)
            yield _persistence(name, info)
            yield _latency(name, client)
            yield _clock(name, client)
            if url == settings.redis_url:
                yield _workers(client, settings)
                yield from _event_loops(client, settings)
                yield _queue(client, settings)
    except (redis.AuthenticationError, redis.ResponseError) as error:
        yield Finding(name, Verdict.FAIL, "not usable", f"{_without_password(url)} says: {error}.")
    except (redis.RedisError, OSError) as error:
        found = f"{_without_password(url)}: {str(error).rstrip('.')}."
        advice = "Start it, or `tokentail up`, which brings its own; or set TOKENTAIL_REDIS_URL."
        yield Finding(name, Verdict.FAIL, "no answer", f"{found} {advice}")


def _connect(url: str) -> Any:
    return redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )


def _version(name: str, info: Mapping[str, Any]) -> Finding:
    text = str(info["redis_version"])
    product = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {text}"
    if tuple(map(int, text.split(".")[:2])) >= OLDEST_VERSION:
        return Finding(f"{name} version", Verdict.OK, product)
    oldest = ".".join(map(str, OLDEST_VERSION))
    return Finding(f"{name} version", Verdict.FAIL, product, f"tokentail needs Redis {oldest} or later.")


def _policy(name: str, info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Finding(f"{name} memory policy", Verdict.OK, policy)
    advice = "Set maxmemory-policy to noeviction, or Redis throws jobs away when it is full."
    return Finding(f"{name} memory policy", Verdict.FAIL, policy, advice)


def _role(name: str, info: Mapping[str, Any]) -> Finding:
    role = str(info.get("role", "unknown"))
    if role == "master":
        return Finding(f"{name} role", Verdict.OK, "primary")
    return Finding(f"{name} role", Verdict.FAIL, role, "It is a replica: point tokentail at the primary.")


def _persistence(name: str, info: Mapping[str, Any]) -> Finding:
    if info.get("aof_enabled"):
        return Finding(f"{name} persistence", Verdict.OK, "append-only file")
    advice = "Set appendonly to yes, or a restart of Redis loses accepted jobs."
    return Finding(f"{name} persistence", Verdict.WARN, "no append-only file", advice)


def _latency(name: str, client: Any) -> Finding:
    trips = []
    for _ in range(PINGS):
        began = time.perf_counter()
        client.ping()
        trips.append(time.perf_counter() - began)
    median = statistics.median(trips) * 1000
    if median <= SLOW_PING_MS:
        return Finding(f"{name} round trip", Verdict.OK, f"{median:.2f} ms")
    advice = "Each token makes two such trips: run tokentail closer to Redis."
    return Finding(f"{name} round trip", Verdict.WARN, f"{median:.1f} ms", advice)


def _clock(name: str, client: Any) -> Finding:
    before = time.time()
    seconds, micros = client.time()
    difference = seconds + micros / 1e6 - (before + time.time()) / 2
    found = f"{round(difference * 1000):+} ms"
    if abs(difference) <= CLOCK_SECONDS:
        return Finding(f"{name} clock", Verdict.OK, found)
    advice = "The clocks differ: job times are Redis's, log lines are this machine's."
    return Finding(f"{name} clock", Verdict.WARN, found, advice)


def _workers(client: Any, settings: Settings) -> Finding:
    alive = len(_live(client, settings))
    if alive:
        return Finding("workers", Verdict.OK, f"{alive} alive")
    return Finding("workers", Verdict.WARN, "none alive", "Jobs wait until one starts: `tokentail worker`.")


def _event_loops(client: Any, settings: Settings) -> Iterator[Finding]:
    told = client.hgetall(keys.LAG)
    lags = {worker: int(told[worker]) for worker in _live(client, settings) if worker in told}
    if not lags:
        return
    latest = max(lags, key=lambda worker: lags[worker])
    found = f"up to {lags[latest]} ms late"
    if lags[latest] <= SLOW_SECONDS * 1000:
        yield Finding("event loops", Verdict.OK, found)
    else:
        advice = f"Streams of {latest} stop and jump: lower TOKENTAIL_CONCURRENCY, and add workers."
        yield Finding("event loops", Verdict.WARN, found, advice)


def _live(client: Any, settings: Settings) -> list[str]:
    seconds, micros = client.time()
    now = seconds * 1000 + micros // 1000
    # Workers renew several times per lease; one that has been silent for a whole one has lost its jobs.
    live: list[str] = client.zrangebyscore(keys.WORKERS, now - settings.lease_seconds * 1000, "+inf")
    return live


def _queue(client: Any, settings: Settings) -> Finding:
    queued, running = client.zcard(keys.READY), client.zcard(keys.LEASES)
    found = f"{queued} queued, {running} running"
    if queued >= settings.max_queue:
        return Finding(
            "queue", Verdict.FAIL, found, "The queue is full and submits are refused: add workers."
        )
    if queued >= settings.max_queue * QUEUE_ALARM:
        advice = f"Submits are refused at {settings.max_queue}: add workers."
        return Finding("queue", Verdict.WARN, found, advice)
    return Finding("queue", Verdict.OK, found)


def _models(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        models = ModelList.load(settings.models or ModelList.demo_path())
    except ConfigError as error:
        yield Finding("models", Verdict.FAIL, "not usable", str(error))
        return
    whose = "" if settings.models else " (the demo models)"
    found = (
        f"{_count(len(models.aliases), 'alias', 'es')}, {_count(len(list(models)), 'deployment', 's')}{whose}"
    )
    yield Finding("models", Verdict.OK, found)
    for name in referenced_names(models):
        if name.startswith(PREFIX):
            continue  # Ours, and set by whoever starts the demo provider.
        if environment.get(name):
            yield Finding("model variable", Verdict.OK, f"{name} is set")
        else:
            advice = "The workers need it; here it matters only if workers run here."
            yield Finding("model variable", Verdict.WARN, f"{name} is not set", advice)


def _count(number: int, noun: str, plural: str) -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
