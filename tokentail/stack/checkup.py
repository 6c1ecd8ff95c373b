"""What `tokentail doctor` looks at: each check is one finding with a verdict and, if need be, advice."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from tokentail.shared import keys, redis_url
from tokentail.shared.errors import ConfigError
from tokentail.shared.lag import SLOW_SECONDS
from tokentail.shared.models import ModelList
from tokentail.shared.opinion import NoPrimary
from tokentail.shared.redis_url import without_password
from tokentail.shared.settings import PREFIX, Settings, unknown_variables
from tokentail.stack import cluster_checkup, replicas_checkup, sentinel_checkup, server_checkup
from tokentail.stack.environment import referenced_names
from tokentail.stack.finding import VARIABLES, Finding, Verdict

#: A server that takes longer than this to answer at all can't carry a live stream.
TIMEOUT_SECONDS = 3.0
#: Share of the largest queue at which an operator wants to know.
QUEUE_ALARM = 0.8


def check_up(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Look at everything. Never raises for what it finds; an answer with a FAIL is bad news."""
    return [*_variables(environment), *_planes(settings), *_models(settings, environment)]


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


def _variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name in unknown_variables(environment):
        yield Finding(
            "settings", Verdict.WARN, f"{name} is no setting", "It changes nothing: is it misspelt?"
        )


def _planes(settings: Settings) -> Iterator[Finding]:
    yield from _server("redis", settings.redis_url, settings)
    if settings.log_url != settings.redis_url:
        yield from _server("log redis", settings.log_url, settings)


def _server(name: str, url: str, settings: Settings) -> Iterator[Finding]:
    if redis_url.is_cluster(url):
        yield from cluster_checkup.look(name, url)
        return
    if redis_url.is_sentinel(url):
        yield from sentinel_checkup.look(name, sentinel_checkup.ask(url), settings.lease_seconds)
    try:
        with _connect(url) as client:
            yield from _primary(name, url, client, settings)
    except NoPrimary as nowhere:
        yield Finding(f"{name} primary", Verdict.FAIL, "not found", str(nowhere))
    except (redis.AuthenticationError, redis.ResponseError) as error:
        yield Finding(name, Verdict.FAIL, "not usable", f"{without_password(url)} says: {error}.")
    except (redis.RedisError, OSError) as error:
        found = f"{without_password(url)}: {str(error).rstrip('.')}."
        own = "" if name == "log redis" else ", or `tokentail up`, which brings its own"
        advice = f"Start it{own}; or set {VARIABLES[name]}."
        yield Finding(name, Verdict.FAIL, "no answer", f"{found} {advice}")


def _primary(name: str, url: str, client: Any, settings: Settings) -> Iterator[Finding]:
    info = client.info()
    yield from server_checkup.look(name, client, info)
    is_sentineled = redis_url.is_sentinel(url)
    yield from replicas_checkup.look(
        name, client, info, wait_replicas=settings.wait_replicas, is_sentineled=is_sentineled
    )
    if url == settings.redis_url:
        yield _workers(client, settings)
        yield from _event_loops(client, settings)
        yield _queue(client, settings)


def _connect(url: str) -> Any:
    """A client of the server, or of the primary that its sentinels name. Raises NoPrimary."""
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
    }
    if not redis_url.is_sentinel(url):
        return redis.Redis.from_url(url, **options)
    seen = sentinel_checkup.ask(url)
    primary, hosts = seen.primary(), seen.url.hosts
    return redis.Redis(
        host=primary.host,
        port=primary.port,
        db=seen.url.database,
        username=hosts.username,
        password=hosts.password,
        ssl=hosts.is_tls,
        **options | hosts.tls_options,
    )


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
    queued, running = client.zcard(keys.READY) + client.zcard(keys.SUSPECTS), client.zcard(keys.LEASES)
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
