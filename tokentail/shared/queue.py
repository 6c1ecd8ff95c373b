"""The control plane: enqueue, claim, renew, hand back, finish, cancel, delete; each one Lua script.

Every method raises StoreUnavailable when Redis is away. Whether a method may be repeated after that is
said with it: the reply may have been lost, not the deed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import orjson
from arq.jobs import serialize_job
from redis.asyncio import Redis

from tokentail.shared import events, job, keys
from tokentail.shared import redis as store
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.claim import Claim, Claims, Held
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import IdempotencyConflict, JobNotFound, QueueFull
from tokentail.shared.fold import Result
from tokentail.shared.job import Record, fields_of
from tokentail.shared.settings import Settings

#: The arq function that runs a job; its only argument is the job's id.
FUNCTION = "generate"

#: How many records a listing looks at per round trip, and per call: a filter that matches nothing must
#: not walk a day of jobs in one request.
_LIST_PAGE = 100
_LIST_SCAN = 1000

#: A full queue moves at the pace of generations, which take seconds.
_FULL_RETRY_SECONDS = 5

#: A worker that has not renewed for this long is no longer listed.
_FORGET_WORKER_MS = 60_000


class Queue:
    """The queue and the records of one installation."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        #: How long a log is kept after its ending.
        self.log_ttl_seconds = settings.log_ttl_seconds
        self._log_ttl_ms = int(settings.log_ttl_seconds * 1000)
        self._record_ttl_ms = int(settings.record_ttl_seconds * 1000)
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._enqueue = store.script(redis, "enqueue")
        self._claim = store.script(redis, "claim")
        self._renew = store.script(redis, "renew")
        self._finish = store.script(redis, "finish")
        self._handback = store.script(redis, "handback")
        self._cancel = store.script(redis, "cancel")
        self._delete = store.script(redis, "delete")

    # For the API

    async def enqueue(
        self, tenant: str, request: ChatRequest, idempotency_key: str | None
    ) -> tuple[Record, bool]:
        """Store a job and wake a worker. Returns its record and whether it is new.

        With an idempotency key the same request answers the same job, so it may be repeated. Raises
        QueueFull, and IdempotencyConflict if the key stands for another request.
        """
        job_id = job.new_id()
        metadata = request.metadata or {}
        body = {"call": request.to_call(), "on_interruption": request.on_interruption}
        with store.away_is_unavailable():
            outcome, *answer = await self._enqueue(
                [
                    keys.READY,
                    keys.BELL,
                    keys.record(job_id),
                    keys.request(job_id),
                    keys.index(tenant),
                    keys.idempotency(tenant, idempotency_key or ""),
                ],
                [
                    job_id,
                    tenant,
                    request.model,
                    serialize_job(FUNCTION, (job_id,), {}, None, 0, serializer=orjson.dumps),
                    orjson.dumps(body),
                    orjson.dumps(metadata),
                    int(self._settings.deadline_seconds * 1000),
                    self._settings.max_queue,
                    _fingerprint({**body, "metadata": metadata}) if idempotency_key else "",
                    keys.JOB_PREFIX,
                ],
            )
        if outcome == b"full":
            raise QueueFull(_FULL_RETRY_SECONDS)
        if outcome == b"conflict":
            raise IdempotencyConflict("This Idempotency-Key was used with another request.")
        stored_id, flat = answer
        return Record.parse(stored_id.decode(), fields_of(flat)), outcome == b"stored"

    async def get(self, tenant: str, job_id: str) -> Record:
        """A job's record. Raises JobNotFound for unknown, expired and foreign jobs alike."""
        if not job.is_id(job_id):
            raise JobNotFound(f"There is no job {job_id[:40]!r}.")
        record = await self.record(job_id)
        if record is None or record.tenant != tenant:
            raise JobNotFound(f"There is no job {job_id!r}.")
        return record

    async def record(self, job_id: str) -> Record | None:
        """A job's record, whoever owns it."""
        with store.away_is_unavailable():
            fields = await self._redis.hgetall(keys.record(job_id))  # type: ignore[misc]
        return Record.parse(job_id, fields) if fields else None

    async def list_jobs(
        self, tenant: str, *, status: str | None, limit: int, after: str | None
    ) -> tuple[list[Record], str | None]:
        """A tenant's jobs, newest first, and where to go on from (None at the end).

        A page may be short, even empty, and still have a next one: a filter looks at a bounded number of
        records per call.
        """
        found: list[Record] = []
        scanned = 0
        async for job_id, record in self._newest_first(tenant, after):
            scanned += 1
            after = job_id
            if record is not None and status in (None, record.status):
                found.append(record)
            if len(found) == limit or scanned == _LIST_SCAN:
                return found, after
        return found, None

    async def _newest_first(self, tenant: str, after: str | None) -> AsyncIterator[tuple[str, Record | None]]:
        while True:
            top = f"({after}" if after else "+"
            with store.away_is_unavailable():
                ids = await self._redis.zrevrangebylex(keys.index(tenant), top, "-", 0, _LIST_PAGE)
                pipe = self._redis.pipeline(transaction=False)
                for raw in ids:
                    pipe.hmget(keys.record(raw.decode()), list(job.LISTED_FIELDS))
                records = await pipe.execute() if ids else []
            for raw, values in zip(ids, records, strict=True):
                after = raw.decode()
                fields = {f: v for f, v in zip(job.LISTED_FIELDS, values, strict=True) if v is not None}
                yield after, Record.parse(after, fields) if fields else None
            if len(ids) < _LIST_PAGE:
                return

    async def cancel(self, tenant: str, job_id: str) -> Literal["ended", "cancelled", "cancelling"]:
        """Ask for a job's end; may be repeated. Raises JobNotFound.

        `cancelled`: it was queued and has ended just now, in the record; its log has yet to be told.
        """
        ending = events.encode({"type": "cancelled", "reason": events.CANCEL_REASON, "usage": None})
        with store.away_is_unavailable():
            answer = await self._cancel(
                [keys.READY, keys.record(job_id), keys.request(job_id)],
                [
                    job_id,
                    tenant,
                    ending,
                    keys.CONTROL_PREFIX,
                    keys.CONTROL_SECONDS,
                    self._log_ttl_ms,
                    self._record_ttl_ms,
                ],
            )
        if answer == b"unknown":
            raise JobNotFound(f"There is no job {job_id!r}.")
        return answer.decode()  # type: ignore[no-any-return]

    async def delete(self, tenant: str, job_id: str) -> None:
        """Remove a job, whatever its state; the caller removes the log. Raises JobNotFound."""
        with store.away_is_unavailable():
            answer = await self._delete(
                [keys.READY, keys.LEASES, keys.record(job_id), keys.request(job_id)],
                [job_id, tenant, keys.CONTROL_PREFIX, keys.CONTROL_SECONDS],
            )
        if answer == b"unknown":
            raise JobNotFound(f"There is no job {job_id!r}.")

    # For workers

    async def claim(self, worker_id: str, slots: int) -> Claims:
        """Become the newest attempt of up to `slots` ripe jobs.

        Must not be repeated blindly: jobs whose claim's reply was lost come back when their lease lapses.
        """
        with store.away_is_unavailable():
            now, wait_ms, found = await self._claim(
                [keys.READY, keys.LEASES, keys.BELL],
                [worker_id, slots, self._lease_ms, keys.JOB_PREFIX, keys.REQUEST_PREFIX],
            )
        claims = [Claim.parse(now, *item) for item in found]
        return Claims(claims, None if wait_ms < 0 else wait_ms / 1000)

    async def renew(
        self, worker_id: str, held: Sequence[tuple[str, int]], *, lag_seconds: float = 0.0
    ) -> list[Held]:
        """Renew the leases of (job, fence) pairs and beat this worker's heart; may be repeated.

        `lag_seconds`: how late the worker's event loop has been, for operators.
        """
        pairs = [item for pair in held for item in pair]
        with store.away_is_unavailable():
            answers = await self._renew(
                [keys.LEASES, keys.WORKERS, keys.LAG],
                [
                    worker_id,
                    self._lease_ms,
                    keys.JOB_PREFIX,
                    _FORGET_WORKER_MS,
                    int(lag_seconds * 1000),
                    keys.LAG_SECONDS,
                    *pairs,
                ],
            )
        return [Held(answer.decode()) for answer in answers]

    async def finish(
        self, job_id: str, fence: int, cursor: Cursor, ending: events.Ending, result: Result
    ) -> Literal["finished", "lost", "gone"]:
        """Store an ending that the log already holds at `cursor`, and free the lease; may be repeated."""
        with store.away_is_unavailable():
            answer = await self._finish(
                [keys.LEASES, keys.READY, keys.record(job_id), keys.request(job_id)],
                [
                    job_id,
                    fence,
                    str(cursor),
                    ending["type"],
                    events.encode(ending),
                    orjson.dumps(result),
                    self._log_ttl_ms,
                    self._record_ttl_ms,
                ],
            )
        return answer.decode()  # type: ignore[no-any-return]

    async def hand_back(
        self, job_id: str, fence: int, reason: Literal["retry", "handoff", "lost"], delay_seconds: float = 0.0
    ) -> Literal["queued", "cancel", "lost"]:
        """Give a running job back to the queue. A repeat after a lost reply answers `lost`, which is true.

        With `lost`, a worker that could not renew says that it is alive: what it lost counts as no crash.
        """
        counter = {"retry": "tries", "handoff": "handoffs", "lost": ""}[reason]
        with store.away_is_unavailable():
            answer = await self._handback(
                [keys.READY, keys.LEASES, keys.BELL, keys.record(job_id)],
                [job_id, fence, reason, int(delay_seconds * 1000), counter],
            )
        return answer.decode()  # type: ignore[no-any-return]

    async def ring(self) -> None:
        """Pass the bell on: for a worker that heard it and can't claim."""
        with store.away_is_unavailable():
            pipe = self._redis.pipeline()
            pipe.lpush(keys.BELL, "1")
            pipe.ltrim(keys.BELL, 0, 0)
            await pipe.execute()

    async def leave(self, worker_id: str) -> None:
        """Take a worker that stops off the list."""
        with store.away_is_unavailable():
            await self._redis.zrem(keys.WORKERS, worker_id)


def _fingerprint(body: dict[str, Any]) -> str:
    """Alike for bodies that mean the same: white space, order and spelled-out nulls don't count."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
