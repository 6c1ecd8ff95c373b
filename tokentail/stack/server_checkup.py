"""What the doctor looks at in every server: whether it keeps what it is told, and is near."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tokentail.shared.redis import FULL_SHARE, OLDEST_VERSION
from tokentail.stack.finding import VARIABLES, Finding, Verdict

PINGS = 21
#: A token costs two trips, writing and reading; beyond this a reader begins to see them.
SLOW_PING_MS = 5.0
#: Share of `maxmemory` from which on an operator wants to know.
FILLING_SHARE = 0.8
#: Redis's clock decides everything; a difference only makes our logs hard to read beside its.
CLOCK_SECONDS = 1.0


def look(name: str, client: Any, info: Mapping[str, Any], *, of_cluster: bool = False) -> Iterator[Finding]:
    """The findings on one server, or on a node of a cluster, whose role is the cluster's to know."""
    yield _version(name, info)
    yield _policy(name, info)
    yield _memory(name, info)
    if not of_cluster:
        yield _role(name, info)
    yield _persistence(name, info)
    yield _latency(name, client)
    yield _clock(name, client)


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


def _memory(name: str, info: Mapping[str, Any]) -> Finding:
    used, most = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if not most:
        return Finding(f"{name} memory", Verdict.OK, "no limit")
    found = f"{used / most:.0%} of {most / 2**20:.0f} MB used"
    if used >= most * FULL_SHARE:
        return Finding(f"{name} memory", Verdict.FAIL, found, "No job is accepted: raise maxmemory.")
    if used >= most * FILLING_SHARE:
        advice = f"From {FULL_SHARE:.0%} on no job is accepted: raise maxmemory, or keep logs for less long."
        return Finding(f"{name} memory", Verdict.WARN, found, advice)
    return Finding(f"{name} memory", Verdict.OK, found)


def _role(name: str, info: Mapping[str, Any]) -> Finding:
    role = str(info.get("role", "unknown"))
    if info.get("redis_mode") == "sentinel":
        advice = f"Name it as {VARIABLES[name]}=redis+sentinel://host:port/<primary's name>."
        return Finding(f"{name} role", Verdict.FAIL, "sentinel", advice)
    if info.get("cluster_enabled"):
        advice = "Only logs may live there: name it as TOKENTAIL_LOG_REDIS_URL=redis+cluster://host:port,host:port."
        return Finding(f"{name} role", Verdict.FAIL, "node of a cluster", advice)
    if role == "master":
        return Finding(f"{name} role", Verdict.OK, "primary")
    return Finding(
        f"{name} role", Verdict.FAIL, role, f"It is a replica: let {VARIABLES[name]} name the primary."
    )


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
