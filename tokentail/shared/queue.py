"""The control plane: enqueue, claim, renew, hand back, finish, cancel, delete; each one Lua script.

Every method raises StoreUnavailable when Redis is away. Whether a method may be repeated after that is
said with it: the reply may have been lost, not the deed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from arq.jobs import serialize_job
from redis.asyncio import Redis

from tokentail.shared import events, job, keys
from tokentail.shared import redis as store
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.claim import Claim, Claims, Held
from tokentail.shared.cursor import Cursor
from tokentail.shared.durable import Durable
from tokentail.shared.errors import IdempotencyConflict, JobNotFound, QueueFull
from tokentail.shared.fold import Result
from tokentail.shared.job import Record, fields_of
from tokentail.shared.pace import PACE_SECONDS, retry_after_seconds
from tokentail.shared.records import Records
from tokentail.shared.settings import Settings

#: The arq function that runs a job; its only argument is the job's id.
FUNCTION = "generate"

#: How long a suspect waits for a worker that makes no other attempt before a busy one may have it: one that
#: has crashed once not for long, for it was probably only there; one that has crashed twice for longer than
#: a killed worker takes to be replaced.
GRACE_SECONDS = (0.25, 5.0)

#: How long a job that was found out waits for its end: if its owner was only cut off from Redis, it says so
#: within the pause in which it asks for Redis (`store.AWAY_LIMIT_SECONDS`).
VERDICT_SECONDS = 2.0

#: How many of those that have waited longest are looked at per call for whether they have waited too long.
_EXPIRE_PAGE = 100

#: A worker that has not renewed for this long is no longer listed.
_FORGET_WORKER_MS = 60_000


class Queue(Records):
    """The queue and the records of one installation."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        super().__init__(redis)
        self._settings = settings
        #: How long a log is kept after its ending.
        self.log_ttl_seconds = settings.log_ttl_seconds
        self._log_ttl_ms = int(settings.log_ttl_seconds * 1000)
        self._record_ttl_ms = int(settings.record_ttl_seconds * 1000)
        self._dead_ttl_ms = int(settings.dead_ttl_seconds * 1000)
        self._lease_ms = int(settings.lease_seconds * 1000)
        # What somebody is told of for good: that there is a job, how it ended, that it is gone.
        durable = Durable(settings.wait_replicas)
        self._enqueue = durable.script(redis, "common", "enqueue")
        self._claim = store.script(redis, "common", "claim")
        self._renew = store.script(redis, "common", "renew")
        self._finish = durable.script(redis, "common", "finish")
        self._handback = store.script(redis, "common", "handback")
        self._cancel = durable.script(redis, "common", "cancel")
        self._expire = store.script(redis, "common", "expire")
        self._delete = durable.script(redis, "common", "delete")

    # For the API

    async def enqueue(
        self, tenant: str, request: ChatRequest, idempotency_key: str | None
    ) -> tuple[Record, bool]:
        """Store a job and wake a worker. Returns its record and whether it is new.

        With an idempotency key the same request answers the same job, so it may be repeated. Raises
        QueueFull, and IdempotencyConflict if the key stands for another request.
        """
        body = {"call": request.to_call(), "on_interruption": request.on_interruption}
        return await self.enqueue_again(tenant, request.model, body, request.metadata or {}, idempotency_key)

    async def enqueue_again(
        self,
        tenant: str,
        model: str,
        body: dict[str, Any],
        metadata: dict[str, str],
        idempotency_key: str | None,
    ) -> tuple[Record, bool]:
        """The same for the request of an earlier job, as it is stored."""
        job_id = job.new_id()
        settings = self._settings
        with store.away_is_unavailable():
            outcome, *answer = await self._enqueue(
                [
                    keys.READY,
                    keys.SUSPECTS,
                    keys.BELL,
                    keys.record(job_id),
                    keys.request(job_id),
                    keys.index(tenant),
                    keys.idempotency(tenant, idempotency_key or ""),
                    keys.PACE,
                ],
                [
                    job_id,
                    tenant,
                    model,
                    serialize_job(FUNCTION, (job_id,), {}, None, 0, serializer=orjson.dumps),
                    orjson.dumps(body),
                    orjson.dumps(metadata),
                    int(settings.deadline_seconds * 1000),
                    int(min(settings.queue_seconds, settings.deadline_seconds) * 1000),
                    settings.max_queue,
                    _fingerprint({**body, "metadata": metadata}) if idempotency_key else "",
                    PACE_SECONDS,
                    keys.JOB_PREFIX,
                ],
            )
        if outcome == b"full":
            raise QueueFull(retry_after_seconds(settings.max_queue, float(answer[0])))
        if outcome == b"conflict":
            raise IdempotencyConflict("This Idempotency-Key was used with another request.")
        stored_id, flat = answer
        return Record.parse(stored_id.decode(), fields_of(flat)), outcome == b"stored"

    async def cancel(self, tenant: str, job_id: str) -> Literal["ended", "cancelled", "cancelling"]:
        """Ask for a job's end; may be repeated. Raises JobNotFound.

        `cancelled`: it was queued and has ended just now, in the record; its log has yet to be told.
        """
        with store.away_is_unavailable():
            answer = await self._cancel(
                [keys.READY, keys.SUSPECTS, keys.record(job_id), keys.request(job_id)],
                [
                    job_id,
                    tenant,
                    events.encode(CANCELLED),
                    keys.CONTROL_PREFIX,
                    keys.CONTROL_SECONDS,
                    self._log_ttl_ms,
                    self._record_ttl_ms,
                ],
            )
        if answer == b"unknown":
            raise JobNotFound(f"There is no job {job_id!r}.")
        return answer.decode()  # type: ignore[no-any-return]

    async def expire(self) -> list[str]:
        """Do what is due though no worker claims: end queued jobs that may no longer be started, or were to
        be cancelled when their worker died; some of them. May be repeated.

        Returns those that ended just now, in their records; their logs have yet to be told.
        """
        with store.away_is_unavailable():
            ended = await self._expire(
                [keys.READY, keys.SUSPECTS, keys.LEASES],
                [
                    _EXPIRE_PAGE,
                    events.encode(WAITED_TOO_LONG),
                    events.encode(CANCELLED),
                    int(VERDICT_SECONDS * 1000),
                    self._log_ttl_ms,
                    self._record_ttl_ms,
                    keys.JOB_PREFIX,
                    keys.REQUEST_PREFIX,
                    keys.ALONE_PREFIX,
                ],
            )
        return [job_id.decode() for job_id in ended]

    async def delete(self, tenant: str, job_id: str) -> None:
        """Remove a job, whatever its state; the caller removes the log. Raises JobNotFound."""
        with store.away_is_unavailable():
            answer = await self._delete(
                [
                    keys.READY,
                    keys.SUSPECTS,
                    keys.LEASES,
                    keys.DEAD,
                    keys.record(job_id),
                    keys.request(job_id),
                ],
                [job_id, tenant, keys.CONTROL_PREFIX, keys.CONTROL_SECONDS],
            )
        if answer == b"unknown":
            raise JobNotFound(f"There is no job {job_id!r}.")

    # For workers

    async def claim(
        self,
        worker_id: str,
        slots: int,
        *,
        running: int = 0,
        ticket: str | None = None,
    ) -> Claims:
        """Become the newest attempt of up to `slots` ripe jobs, or of one suspect, which is to run alone.

        `running`: attempts that the worker makes already; one that makes none is first to get a suspect.
        May be repeated with its `ticket`, which is the worker's to choose: after a lost reply the same ticket
        answers the same jobs again. Without one, they come back when their lease lapses.
        """
        with store.away_is_unavailable():
            now, wait_ms, found = await self._claim(
                [
                    keys.READY,
                    keys.SUSPECTS,
                    keys.LEASES,
                    keys.BELL,
                    keys.claimed(worker_id),
                    keys.alone(worker_id),
                    keys.PACE,
                ],
                [
                    worker_id,
                    ticket or new_ticket(),
                    slots,
                    running,
                    self._lease_ms,
                    *(int(grace * 1000) for grace in GRACE_SECONDS),
                    int(VERDICT_SECONDS * 1000),
                    keys.MEMORY_SECONDS,
                    PACE_SECONDS,
                    keys.JOB_PREFIX,
                    keys.REQUEST_PREFIX,
                    keys.ALONE_PREFIX,
                ],
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
                [
                    keys.LEASES,
                    keys.READY,
                    keys.SUSPECTS,
                    keys.DEAD,
                    keys.record(job_id),
                    keys.request(job_id),
                ],
                [
                    job_id,
                    fence,
                    str(cursor),
                    ending["type"],
                    events.encode(ending),
                    orjson.dumps(result),
                    self._log_ttl_ms,
                    self._record_ttl_ms,
                    self._dead_ttl_ms,
                ],
            )
        return answer.decode()  # type: ignore[no-any-return]

    async def hand_back(
        self,
        job_id: str,
        fence: int,
        reason: Literal["retry", "handoff", "lost"],
        delay_seconds: float = 0.0,
        *,
        floor: int = 0,
    ) -> Literal["queued", "cancel", "lost"]:
        """Give a running job back to the queue. A repeat after a lost reply answers `lost`, which is true.

        With `lost`, a worker that could not renew says that it is alive: what it lost counts as no crash.
        The next fence will be above `floor`, the highest that the job's log was found to hold.
        """
        counter = {"retry": "tries", "handoff": "handoffs", "lost": ""}[reason]
        with store.away_is_unavailable():
            answer = await self._handback(
                [keys.READY, keys.SUSPECTS, keys.LEASES, keys.BELL, keys.record(job_id)],
                [job_id, fence, reason, int(delay_seconds * 1000), counter, floor],
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


#: How a job ends that nobody could start in time.
WAITED_TOO_LONG = events.failed(
    events.error("deadline_exceeded", "The job waited too long in the queue.", retryable=True)
)

#: How a job ends that is cancelled while nobody runs it.
CANCELLED = events.cancelled()


def new_ticket() -> str:
    """A ticket that this worker has not used for a claim."""
    return secrets.token_hex(4)


def _fingerprint(body: dict[str, Any]) -> str:
    """Alike for bodies that mean the same: white space, order and spelled-out nulls don't count."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
