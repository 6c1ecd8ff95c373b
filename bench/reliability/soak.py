"""Soak: full load for minutes, and whether the memory of any process grows.

One API and one worker get as many streams as keep the machine at four fifths of its CPU, load and provider
included. Logs and records live for a minute, so that Redis comes to rest, too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

from bench.installation import Installation, api_url, worker_ready
from bench.processes import Process
from bench.reliability.clients import Clients
from bench.reliability.effort import Effort
from bench.reliability.load import SHORT_STREAM, STREAM, Load
from bench.reliability.memory import WARM_UP_SECONDS, Sample, course
from bench.report import Aim, Row

#: Of all cores.
_FULL_SHARE = 0.8
#: A worker has slots for as many; it is the CPU that is to be the limit.
_MOST_STREAMS = 600
_LIVES_SECONDS = "60"

#: A kilobyte left behind by each job would be 6 MB in ten minutes at ten jobs a second; what the allocator
#: gives and takes is less.
_MOST_GROWTH_MB = 5.0

Samples = Mapping[str, list[Sample]]


async def measure(effort: Effort, minutes: float) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    installation = Installation(
        [STREAM, SHORT_STREAM],
        TOKENTAIL_CONCURRENCY=str(_MOST_STREAMS),
        TOKENTAIL_LOG_TTL_SECONDS=_LIVES_SECONDS,
        TOKENTAIL_RECORD_TTL_SECONDS=_LIVES_SECONDS,
    )
    try:
        installation.start()
        worker, api = installation.spawn_worker(), installation.spawn_api()
        clients = Clients(api_url(api))
        worker_ready(worker)
        watched = {"API": api, "worker": worker, "demo provider": installation.provider}
        load = Load(clients)
        streams = await _fill(load, effort, watched)
        samples, share = await _watch(load, watched, minutes * 60, effort.sample_seconds)
        await load.aclose()
        await clients.aclose()
    finally:
        installation.close()
    return _rows(samples), [_note(load, streams, share, minutes)]


async def _fill(load: Load, effort: Effort, watched: Mapping[str, Process]) -> int:
    """Begin with few streams, see what they cost, and go on with as many as the machine carries."""
    load.set(effort.first_streams)
    # Until jobs end and begin as they will all the time.
    await asyncio.sleep(effort.gauge_seconds)
    share = await _share(watched, effort.gauge_seconds)
    streams = min(_MOST_STREAMS, round(effort.first_streams * _FULL_SHARE / share))
    load.set(streams)
    return streams


async def _share(watched: Mapping[str, Process], seconds: float) -> float:
    """How much of all cores these processes and this one take."""
    before = _cpu_seconds(watched)
    await asyncio.sleep(seconds)
    return (_cpu_seconds(watched) - before) / seconds / (os.cpu_count() or 1)


def _cpu_seconds(watched: Mapping[str, Process]) -> float:
    return time.process_time() + sum(process.cpu_seconds() for process in watched.values())


async def _watch(
    load: Load, watched: Mapping[str, Process], seconds: float, pause: float
) -> tuple[Samples, float]:
    """Look at the memory every now and then. Returns what was seen, and the share of CPU taken."""
    samples: Samples = {name: [] for name in watched}
    load.counts.clear()
    began, cpu = time.monotonic(), _cpu_seconds(watched)
    while True:
        passed = time.monotonic() - began
        for name, process in watched.items():
            samples[name].append(Sample(passed, process.memory_bytes()))
        load.check()
        if passed >= seconds:
            return samples, (_cpu_seconds(watched) - cpu) / passed / (os.cpu_count() or 1)
        await asyncio.sleep(min(pause, seconds - passed))


def _rows(samples: Samples) -> list[Row]:
    rows = []
    for name, seen in samples.items():
        found, count = course(seen), (len(seen),)
        rows += [
            Row(f"{name}, memory in the first minute", "MB", found.first_minute, None, count),
            Row(f"{name}, memory in the last minute", "MB", found.last_minute, None, count),
            Row(
                f"{name}, growth in ten minutes",
                "MB",
                found.slope,
                None,
                count,
                Aim("value", _MOST_GROWTH_MB) if name != "demo provider" else None,
            ),
        ]
    return rows


def _note(load: Load, streams: int, share: float, minutes: float) -> str:
    counts = load.counts
    jobs = counts["completed"] + counts["cancelled"] + counts["failed"]
    return (
        f"Soak: {minutes:g} minutes of {streams} streams at 30 tokens a second, {share:.0%} of all cores "
        f"(Redis not counted): {jobs:,} jobs ({counts['cancelled']:,} cancelled, {counts['failed']:,} "
        f"failed), {counts['tokens']:,} tokens delivered to {counts['followers']:,} followers on "
        f"{counts['connections']:,} connections. Medians of resident memory; growth is the slope of a line "
        f"by least squares behind the first {WARM_UP_SECONDS:g} s (of a short run, behind its first half)."
    )
