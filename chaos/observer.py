"""Reads what there is to be known, directly from Redis, the APIs and the provider, into a history."""

from __future__ import annotations

import asyncio
import contextlib
from importlib import resources
from typing import Any

import httpx
import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.edge import AGAIN_SECONDS, REFUSALS, Edge
from chaos.history import Entry, History, Job, Provider, Queue
from tokentail.shared import keys
from tokentail.shared.events import ENDINGS

#: Between two looks at the queue during a run.
_LOOK_SECONDS = 0.5

#: For a job object when all is healed; more than there are connections from before.
_TRIES = 10

_PLANE = keys.READY.removesuffix("ready")
_SNAPSHOT = resources.files("chaos").joinpath("snapshot.lua").read_text()
_NAMES = ("ready", "suspects", "leases", "dead", "bell", "index:")


async def watch(redis: Redis, history: History) -> None:
    """Look at the queue again and again, whenever Redis is there; ends by cancellation."""
    while True:
        with contextlib.suppress(RedisError, OSError):
            history.queues.append(await queue(redis))
        await asyncio.sleep(_LOOK_SECONDS)


async def queue(redis: Redis) -> Queue:
    """The control plane at this moment."""
    names = [_PLANE + name for name in _NAMES]
    ready, suspects, leases, dead, bell, indexes, records = await redis.eval(  # type: ignore[misc]
        _SNAPSHOT, 0, *names, keys.JOB_PREFIX
    )
    return Queue(
        ready=_texts(ready),
        suspects=_texts(suspects),
        leases=_texts(leases),
        dead=_texts(dead),
        bell=bell,
        index={name.decode(): _texts(ids) for name, ids in _pairs(indexes)},
        records={name.decode(): _fields(dict(_pairs(flat))) for name, flat in _pairs(records)},
    )


def is_settled(seen: Queue) -> bool:
    """Whether every job has ended."""
    return not seen.leases and all(record["status"] in ENDINGS for record in seen.records.values())


async def provider(url: str) -> Provider:
    """The provider's ledger as it is now."""
    async with httpx.AsyncClient(trust_env=False) as http:
        stats = (await http.get(f"{url}/stats")).json()
    return Provider(stats["open_streams"], stats["started"], stats["requests"])


async def collect(redis: Redis, edge: Edge, history: History) -> None:
    """Read every job to its last entry. First through the API, which heals what only needs to be looked at;
    that is promised, so it may be relied on."""
    last = await queue(redis)
    for job_id in last.records:
        history.jobs.setdefault(job_id, Job(job_id))
    for job in history.jobs.values():
        job.shown = await _shown(edge, job, history)
        await _read(redis, job)
    history.queues.append(await queue(redis))


async def _shown(edge: Edge, job: Job, history: History) -> dict[str, Any] | None:
    """The job object. A connection from before its API was restarted answers nothing once."""
    status = 0
    for api in range(_TRIES):
        status, shown = await edge.ask("GET", f"/v1/jobs/{job.id}", api)
        if status in (200, 404):
            return shown if status == 200 else None
        if status not in REFUSALS:
            break
        await asyncio.sleep(AGAIN_SECONDS)
    history.oddities.append(f"at the end GET of {job.id} was answered {status}")
    return None


async def _read(redis: Redis, job: Job) -> None:
    record, request, log = keys.record(job.id), keys.request(job.id), keys.log(job.id)
    job.record = _fields(await redis.hgetall(record))  # type: ignore[misc]
    job.record_ttl, job.request_ttl, job.log_ttl = [await redis.pttl(key) for key in (record, request, log)]
    job.log = [
        Entry(entry_id.decode(), orjson.loads(fields[b"e"])) for entry_id, fields in await redis.xrange(log)
    ]


def _texts(raw: list[bytes]) -> set[str]:
    return {one.decode() for one in raw}


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _fields(raw: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in raw.items()}
