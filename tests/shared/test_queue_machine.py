"""Whatever is asked of the queue in whatever order, a job keeps its promises."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import redis as sync_redis
from given import RESULT, TENANT, chat, completed, failed
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.claim import Held
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import IdempotencyConflict, JobNotFound
from tokentail.shared.job import Record, Status
from tokentail.shared.queue import Queue, new_ticket
from tokentail.shared.settings import Settings

CANCELLED: Any = {"type": "cancelled", "reason": "requested", "usage": None}
ENDINGS = {"completed": completed(), "failed": failed(), "cancelled": CANCELLED}
WORKERS = st.sampled_from(["worker-1", "worker-2"])
#: Later than any test runs.
LATER_SECONDS = 10_000.0


@dataclass
class Job:
    """What we expect of a job."""

    id: str
    status: str = "queued"
    ripe: bool = True
    lapsed: bool = False
    cancel: bool = False
    unlogged: bool = False
    #: Who claimed it under which fence, in that order.
    claims: list[tuple[str, int]] = field(default_factory=list)
    tries: int = 0
    crashes: int = 0
    poison: bool = False
    #: The claim whose lease lapsed last, as long as its owner is taken for dead.
    taken_for_dead: int | None = None
    handoffs: int = 0
    #: The record as it was when the job ended for good.
    ended: Record | None = None
    #: Fences only ever rise.
    fence: int = 0

    @property
    def suspect(self) -> bool:
        return self.crashes > 0 and not self.poison

    def holds(self, worker: str, fence: int) -> bool:
        return self.status == "running" and self.claims[-1] == (worker, fence)


class Machine(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = store.client(url)
        self.run(self.redis.flushall())
        self.queue = Queue(self.redis, Settings(redis_url=url, lease_seconds=600))
        self.jobs: dict[str, Job] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.deleted: list[tuple[str, int]] = []
        #: By worker: the suspect that it was given to run alone and has been given no others since.
        self.alone: dict[str, str] = {}
        #: By worker: the ticket of its last productive claim, and what that brought.
        self.tickets: dict[str, tuple[str, list[tuple[str, int]]]] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    # Choosing

    def pick(self, data: st.DataObject) -> Job:
        return data.draw(st.sampled_from(list(self.jobs.values())), label="job")

    def pick_claim(self, data: st.DataObject) -> tuple[Job, str, int]:
        claims = [(job, *claim) for job in self.jobs.values() for claim in job.claims]
        return data.draw(st.sampled_from(claims), label="claim")

    # Deeds

    @rule(key=st.sampled_from([None, "a", "b"]), content=st.sampled_from(["x", "y"]))
    def enqueue(self, key: str | None, content: str) -> None:
        try:
            record, is_new = self.run(self.queue.enqueue(TENANT, chat(content), key))
        except IdempotencyConflict:
            assert key is not None
            assert self.keys[key][1] != content
            return
        if key in self.keys:
            assert (record.id, content) == self.keys[key or ""]
            assert not is_new
            return
        assert is_new
        self.jobs[record.id] = Job(record.id)
        if key is not None:
            self.keys[key] = (record.id, content)

    @rule(worker=WORKERS, slots=st.integers(0, 3))
    def claim(self, worker: str, slots: int) -> None:
        self.lapses_are_found()
        suspects = {job.id for job in self.queued() if job.ripe and job.suspect}
        ripe = {job.id for job in self.queued() if job.ripe and not job.suspect}
        ticket = new_ticket()
        claims = self.run(self.queue.claim(worker, slots, ticket=ticket)).jobs
        found = {claim.job_id for claim in claims}
        if slots and suspects:
            assert len(found) == len(claims) == 1
            assert found <= suspects
            (self.alone[worker],) = found
        else:
            assert found <= ripe
            assert len(claims) == min(slots, len(ripe))
            if claims:
                self.alone.pop(worker, None)
        for claim in claims:
            job = self.jobs[claim.job_id]
            assert claim.fence > job.fence
            assert claim.fence >= claim.now
            job.claims.append((worker, claim.fence))
            job.status, job.fence = "running", claim.fence
        if claims:
            self.tickets[worker] = (ticket, [(claim.job_id, claim.fence) for claim in claims])

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def claim_again(self, data: st.DataObject) -> None:
        """The reply was lost: the same ticket brings the same jobs, as far as they are still the worker's."""
        worker = data.draw(st.sampled_from(sorted(self.tickets)), label="worker")
        self.lapses_are_found()
        ticket, given = self.tickets[worker]
        claims = self.run(self.queue.claim(worker, 3, ticket=ticket)).jobs
        for job_id, fence in given:  # Those that were taken from it: it is alive, so that was no crash.
            if job_id in self.jobs:
                self.is_alive(self.jobs[job_id], fence)
        still = [one for one in given if one[0] in self.jobs and self.jobs[one[0]].holds(worker, one[1])]
        assert [(claim.job_id, claim.fence) for claim in claims] == still

    def lapses_are_found(self) -> None:
        for job in self.jobs.values():
            if job.status == "running" and job.lapsed:
                job.status, job.ripe, job.lapsed = "queued", True, False
                owner, fence = job.claims[-1]
                job.crashes += 1
                job.taken_for_dead = fence
                job.poison = job.poison or job.crashes >= 5 or self.alone.get(owner) == job.id

    @staticmethod
    def is_alive(job: Job, fence: int) -> None:
        if fence == job.taken_for_dead and job.status in ("queued", "running"):
            job.crashes, job.taken_for_dead, job.poison = job.crashes - 1, None, False

    def queued(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.status == "queued"]

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def lease_lapses(self, data: st.DataObject) -> None:
        job = self.pick(data)
        if job.status == "running":
            job.lapsed = True
            self.run(self.redis.zadd(keys.LEASES, {job.id: 1}, xx=True))

    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        pairs = [(job, fence) for job in self.jobs.values() for who, fence in job.claims if who == worker]
        asked = [(job.id, fence) for job, fence in pairs] + self.deleted
        answers = self.run(self.queue.renew(worker, asked))
        for (job, fence), answer in zip(pairs, answers, strict=False):
            if not job.holds(worker, fence):
                assert answer == Held.LOST
            else:
                assert answer == (Held.CANCEL if job.cancel else Held.HELD)
                job.lapsed = False
        assert answers[len(pairs) :] == [Held.GONE] * len(self.deleted)

    @precondition(lambda self: any(job.claims for job in self.jobs.values()))
    @rule(data=st.data(), reason=st.sampled_from(["retry", "handoff", "lost"]), later=st.booleans())
    def hand_back(self, data: st.DataObject, reason: Any, later: bool) -> None:
        job, worker, fence = self.pick_claim(data)
        delay = LATER_SECONDS if later else 0.0
        answer = self.run(self.queue.hand_back(job.id, fence, reason, delay))
        if not job.holds(worker, fence):
            assert answer == "lost"
            self.is_alive(job, fence)
        elif job.cancel and reason != "lost":
            assert answer == "cancel"
        else:
            assert answer == "queued"
            job.status, job.ripe, job.lapsed = "queued", not later, False
            job.tries += reason == "retry"
            job.handoffs += reason == "handoff"

    @precondition(lambda self: any(job.claims for job in self.jobs.values()))
    @rule(data=st.data(), kind=st.sampled_from(sorted(ENDINGS)), seq=st.integers(1, 2))
    def finish(self, data: st.DataObject, kind: str, seq: int) -> None:
        job, _, fence = self.pick_claim(data)
        cursor = Cursor(fence, seq)
        answer = self.run(self.queue.finish(job.id, fence, cursor, ENDINGS[kind], RESULT))
        if job.ended is not None:
            assert answer == ("finished" if job.ended.cursor == cursor else "lost")
        elif fence != job.fence:
            assert answer == "lost"
        else:
            assert answer == "finished"
            self.has_ended(job, kind)

    @precondition(lambda self: any(job.unlogged for job in self.jobs.values()))
    @rule(data=st.data(), other=st.sampled_from([None, *ENDINGS]))
    def log_answers(self, data: st.DataObject, other: str | None) -> None:
        """The log of a job that was cancelled in the queue takes the ending, or holds another one."""
        job = data.draw(st.sampled_from([job for job in self.jobs.values() if job.unlogged]))
        cursor = Cursor(job.fence, 0) if other is None else Cursor(job.fence - 1, 5)
        ending = ENDINGS[other or "cancelled"]
        answer = self.run(self.queue.finish(job.id, job.fence, cursor, ending, RESULT))
        assert answer == "finished"
        self.has_ended(job, ending["type"])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.pick(data)
        answer = self.run(self.queue.cancel(TENANT, job.id))
        if job.status == "queued":
            assert answer == "cancelled"
            record = self.run(self.queue.record(job.id))
            assert record.fence > job.fence
            job.status, job.unlogged, job.fence = "cancelled", True, record.fence
        elif job.status == "running":
            assert answer == "cancelling"
            job.cancel = True
        else:
            assert answer == "ended"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job = self.pick(data)
        self.run(self.queue.delete(TENANT, job.id))
        del self.jobs[job.id]
        self.keys = {key: known for key, known in self.keys.items() if known[0] != job.id}
        self.deleted.append((job.id, job.fence))

    @precondition(lambda self: self.deleted)
    @rule(data=st.data())
    def speak_of_a_deleted_job(self, data: st.DataObject) -> None:
        job_id, fence = data.draw(st.sampled_from(self.deleted))
        finish = self.queue.finish(job_id, fence, Cursor(fence, 1), completed(), RESULT)
        assert self.run(finish) == "gone"
        assert self.run(self.queue.hand_back(job_id, fence, "retry")) == "lost"
        try:
            self.run(self.queue.cancel(TENANT, job_id))
        except JobNotFound:
            return
        raise AssertionError("a deleted job was found")

    def has_ended(self, job: Job, status: str) -> None:
        job.status, job.unlogged = status, False
        job.ended = self.run(self.queue.record(job.id))

    # Promises

    @invariant()
    def records_are_as_expected(self) -> None:
        for job in self.jobs.values():
            record = self.run(self.queue.record(job.id))
            assert (record.status, record.unlogged) == (job.status, job.unlogged)
            assert (record.attempt, record.fence) == (len(job.claims), job.fence)
            assert (record.tries, record.crashes, record.handoffs) == (job.tries, job.crashes, job.handoffs)
            assert record.poison == job.poison
            assert record.has_ended == (record.ending is not None) == (record.ended > 0)
            if job.ended is not None:
                assert record == job.ended

    @invariant()
    def a_job_is_in_one_queue_or_in_leases_or_has_ended(self) -> None:
        assert self.members(keys.READY) == {job.id for job in self.queued() if not job.suspect}
        assert self.members(keys.SUSPECTS) == {job.id for job in self.queued() if job.suspect}
        assert self.members(keys.LEASES) == {
            job.id for job in self.jobs.values() if job.status == Status.RUNNING
        }

    @invariant()
    def dead_letters_are_those_that_failed_as_the_cause_of_crashes(self) -> None:
        assert self.members(keys.DEAD) == {
            job.id for job in self.jobs.values() if job.poison and job.status == Status.FAILED
        }

    def members(self, key: str) -> set[str]:
        return {raw.decode() for raw in self.run(self.redis.zrange(key, 0, -1))}

    @invariant()
    def what_has_ended_expires_and_nothing_else_does(self) -> None:
        for job in self.jobs.values():
            lasting = job.status in ("queued", "running")
            for key in (keys.record(job.id), keys.request(job.id)):
                assert (self.run(self.redis.pttl(key)) == -1) == lasting

    @invariant()
    def the_bell_is_pushed_at_most_once(self) -> None:
        assert self.run(self.redis.llen(keys.BELL)) <= 1


def test_jobs_keep_their_promises_whatever_is_asked_in_whatever_order(redis_url: str) -> None:
    with sync_redis.Redis.from_url(redis_url) as client:
        client.ping()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Machine(redis_url), settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
