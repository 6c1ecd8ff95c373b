"""A job that crashes its workers is found out, and its neighbours are not condemned with it."""

from __future__ import annotations

import pytest
from given import RESULT, TENANT, claimed, enqueued, failed, lapse, running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import queue as queue_module
from tokentail.shared.claim import Claim
from tokentail.shared.cursor import Cursor
from tokentail.shared.queue import Queue


async def crash(queue: Queue, redis: Redis, *claims: Claim) -> None:
    """The worker of these jobs dies, and somebody notices."""
    for claim in claims:
        await lapse(redis, claim.job_id)
    await queue.claim("who-looks", 0)


async def suspect(queue: Queue, redis: Redis) -> str:
    """A job that has crashed once, and waits."""
    claim = await running(queue, "dead")
    await crash(queue, redis, claim)
    return claim.job_id


async def waits_for(redis: Redis, job_id: str, seconds: float) -> None:
    """As if a suspect had waited for so long."""
    assert await redis.zincrby(keys.SUSPECTS, -seconds * 1000, job_id)


async def test_a_suspect_is_given_alone(queue: Queue, redis: Redis) -> None:
    # Given a suspect and jobs that never crashed
    bad = await suspect(queue, redis)
    for _ in range(3):
        await enqueued(queue)
    # Then a worker with many slots gets the suspect and nothing else
    assert [claim.job_id for claim in (await queue.claim("worker", 10)).jobs] == [bad]


async def test_two_suspects_go_to_two_workers(queue: Queue, redis: Redis) -> None:
    claims = [await running(queue, "dead") for _ in range(2)]
    await crash(queue, redis, *claims)
    given = [(await queue.claim(f"worker-{n}", 10)).jobs for n in range(2)]
    assert sorted(claim.job_id for jobs in given for claim in jobs) == sorted(c.job_id for c in claims)
    assert [len(jobs) for jobs in given] == [1, 1]


async def test_a_worker_that_makes_attempts_leaves_a_suspect_to_one_that_makes_none(
    queue: Queue, redis: Redis
) -> None:
    bad = await suspect(queue, redis)
    other = await enqueued(queue)
    # When a busy worker claims, it gets what never crashed
    claims = await queue.claim("busy", 1, running=3)
    assert [claim.job_id for claim in claims.jobs] == [other.id]
    # And is told when to look again for the suspect
    assert claims.wait_seconds is not None
    assert 0 < claims.wait_seconds <= queue_module.GRACE_SECONDS[0]
    # And an idle one gets that at once
    assert (await claimed(queue, "idle")).job_id == bad


async def test_when_no_worker_is_idle_a_busy_one_takes_the_suspect_beside_others(
    queue: Queue, redis: Redis
) -> None:
    # Given a suspect for which no worker was idle, and jobs that never crashed
    bad = await suspect(queue, redis)
    others = [(await enqueued(queue)).id for _ in range(2)]
    await waits_for(redis, bad, queue_module.GRACE_SECONDS[0])
    # Then a busy one takes it, and nobody waits for it
    first, *rest = (await queue.claim("busy", 5, running=3)).jobs
    assert first.job_id == bad
    assert {claim.job_id for claim in rest} == set(others)


@pytest.mark.parametrize(("crashes", "seconds", "taken"), [(2, 1, False), (2, 5, True), (3, 1000, False)])
async def test_the_more_often_it_crashed_the_longer_it_waits_for_an_idle_worker(
    queue: Queue, redis: Redis, crashes: int, seconds: float, taken: bool
) -> None:
    bad = await suspect(queue, redis)
    await redis.hset(keys.record(bad), "crashes", crashes)
    await waits_for(redis, bad, seconds)
    assert bool((await queue.claim("busy", 5, running=1)).jobs) == taken
    assert taken or (await claimed(queue, "idle")).job_id == bad


async def test_a_suspect_that_may_not_be_taken_yet_hides_no_other(queue: Queue, redis: Redis) -> None:
    claims = [await running(queue, "dead") for _ in range(2)]
    await crash(queue, redis, *claims)
    first, second = (claim.job_id for claim in claims)
    await redis.hset(keys.record(first), "crashes", 3)
    for job_id in (first, second):
        await waits_for(redis, job_id, 1)
    (claim,) = (await queue.claim("busy", 5, running=1)).jobs
    assert claim.job_id == second


async def test_a_suspect_that_crashes_again_is_found_out(queue: Queue, redis: Redis) -> None:
    # Given a job that has crashed with one worker, and then alone with a second
    bad = await suspect(queue, redis)
    await crash(queue, redis, await claimed(queue, "second"))
    # Then its next claim says so
    claim = await claimed(queue, "third")
    assert (claim.job_id, claim.record.crashes, claim.record.poison) == (bad, 2, True)


async def test_a_job_that_was_found_out_waits_for_no_idle_worker(queue: Queue, redis: Redis) -> None:
    # Given a job that was found out; all that is left is to end it
    bad = await suspect(queue, redis)
    await crash(queue, redis, await claimed(queue, "second"))
    # Then a busy worker gets it at once, and others with it
    other = await enqueued(queue)
    claims = await queue.claim("busy", 5, running=3)
    assert [claim.job_id for claim in claims.jobs] == [bad, other.id]


async def test_how_old_a_suspect_is_brings_it_to_no_busy_worker(queue: Queue, redis: Redis) -> None:
    # Given a job that was submitted long ago, and crashes now
    claim = await running(queue, "dead")
    await redis.hset(keys.record(claim.job_id), "created", claim.record.created - 3_600_000)
    await crash(queue, redis, claim)
    # Then a busy worker leaves it to an idle one all the same
    assert not (await queue.claim("busy", 5, running=3)).jobs
    assert (await claimed(queue, "idle")).job_id == claim.job_id


async def test_a_crash_in_company_condemns_nobody(queue: Queue, redis: Redis) -> None:
    # Given a suspect that survived for long enough for others to be claimed beside it
    bad = await suspect(queue, redis)
    (claim,) = (await queue.claim("worker", 5)).jobs
    other = await enqueued(queue)
    (beside,) = (await queue.claim("worker", 5, running=1)).jobs
    assert (claim.job_id, beside.job_id) == (bad, other.id)
    # When their worker dies
    await crash(queue, redis, claim, beside)
    # Then both are suspects, and neither is found out
    for job_id, crashes in ((bad, 2), (other.id, 1)):
        record = await queue.get(TENANT, job_id)
        assert (record.crashes, record.poison) == (crashes, False)
        assert await redis.zscore(keys.SUSPECTS, job_id) is not None


async def test_a_suspect_is_blamed_for_as_long_as_it_is_the_only_one(queue: Queue, redis: Redis) -> None:
    # Given a suspect whose worker has nothing else, long after its probation
    bad = await suspect(queue, redis)
    claim = await claimed(queue, "worker")
    await queue.claim("worker", 5, running=1)
    # When it dies
    await crash(queue, redis, claim)
    # Then the suspect is found out
    assert (await queue.get(TENANT, bad)).poison


async def test_who_crashes_beside_a_suspect_condemns_nobody(queue: Queue, redis: Redis) -> None:
    # Given a busy worker that took a suspect
    neighbour = await running(queue, "busy")
    bad = await suspect(queue, redis)
    await waits_for(redis, bad, 1)
    (claim,) = (await queue.claim("busy", 5, running=1)).jobs
    # When it dies
    await crash(queue, redis, neighbour, claim)
    # Then either may have been the cause: both have crashed once more
    for job_id, crashes in ((bad, 2), (neighbour.job_id, 1)):
        record = await queue.get(TENANT, job_id)
        assert (record.crashes, record.poison) == (crashes, False)


async def test_a_job_that_crashes_again_and_again_is_the_cause_in_whatever_company(
    queue: Queue, redis: Redis
) -> None:
    # Given a job that has crashed four times, always among others
    bad = await suspect(queue, redis)
    await redis.hset(keys.record(bad), "crashes", 4)
    claim = await claimed(queue, "worker")
    await enqueued(queue)
    (beside,) = (await queue.claim("worker", 5, running=1)).jobs
    # When it crashes once more
    await crash(queue, redis, claim, beside)
    # Then it is found out, and who was there for the first time is not
    assert (await queue.get(TENANT, bad)).poison
    assert not (await queue.get(TENANT, beside.job_id)).poison


async def test_who_was_only_cut_off_has_time_to_say_so(
    queue: Queue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "VERDICT_SECONDS", 1000.0)
    # Given a suspect whose worker could not renew
    bad = await suspect(queue, redis)
    claim = await claimed(queue, "second")
    await crash(queue, redis, claim)
    # Then its end waits
    assert (await queue.get(TENANT, bad)).poison
    assert not (await queue.claim("third", 5)).jobs
    # And when that worker speaks, the job may begin again
    await queue.hand_back(bad, claim.fence, "lost")
    assert (await claimed(queue, "third")).job_id == bad


async def test_a_claim_that_is_asked_again_still_runs_its_suspect_alone(queue: Queue, redis: Redis) -> None:
    # Given a suspect whose claim's reply was lost
    bad = await suspect(queue, redis)
    await queue.claim("worker", 5, ticket="t1")
    (claim,) = (await queue.claim("worker", 5, ticket="t1")).jobs
    # When its worker dies
    await crash(queue, redis, claim)
    # Then it is found out
    assert (await queue.get(TENANT, bad)).poison


async def test_an_owner_that_turns_out_to_be_alive_clears_its_suspect(queue: Queue, redis: Redis) -> None:
    # Given a suspect that seems to have crashed a second worker
    await suspect(queue, redis)
    claim = await claimed(queue, "second")
    await crash(queue, redis, claim)
    # When that worker says that it only could not renew
    await queue.hand_back(claim.job_id, claim.fence, "lost")
    # Then the job is a suspect as before, no more
    record = await queue.get(TENANT, claim.job_id)
    assert (record.crashes, record.poison) == (1, False)
    assert await redis.zscore(keys.SUSPECTS, claim.job_id) is not None
    assert await redis.zscore(keys.READY, claim.job_id) is None


async def test_one_crash_condemns_nobody_also_if_another_was_none(redis: Redis, queue: Queue) -> None:
    # Given a job that runs alone, since its first owner was taken for dead
    first = await running(queue, "worker-1")
    await lapse(redis, first.job_id)
    await claimed(queue, "worker-2")
    # When that one says that it lives, and then the second one dies
    await queue.hand_back(first.job_id, first.fence, "lost", 0)
    await lapse(redis, first.job_id)
    # Then the job has killed one worker, and is given another one
    again = await claimed(queue, "worker-3")
    assert (again.record.crashes, again.record.poison) == (1, False)


async def test_a_job_that_is_to_be_tried_later_is_not_begun_at_once_because_its_crash_was_none(
    redis: Redis, queue: Queue
) -> None:
    # Given a suspect whose provider has asked for patience, so that it waits for its next try
    first = await running(queue, "worker-1")
    await lapse(redis, first.job_id)
    second = await claimed(queue, "worker-2")
    await queue.hand_back(second.job_id, second.fence, "retry", 1000.0)
    # When its first owner says that it lives
    await queue.hand_back(first.job_id, first.fence, "lost")
    # Then it is a suspect no more, and waits all the same
    assert (await queue.get(TENANT, first.job_id)).crashes == 0
    assert await redis.zscore(keys.READY, first.job_id) is not None
    assert not (await queue.claim("worker-3", 1)).jobs


async def test_a_job_whose_only_crash_was_none_is_no_suspect(queue: Queue, redis: Redis) -> None:
    claim = await running(queue, "slow")
    await crash(queue, redis, claim)
    await queue.hand_back(claim.job_id, claim.fence, "lost")
    assert await redis.zscore(keys.READY, claim.job_id) == claim.record.created
    assert await redis.zcard(keys.SUSPECTS) == 0


@pytest.mark.parametrize("reason", ["retry", "handoff"])
async def test_a_suspect_that_is_handed_back_is_still_one(queue: Queue, redis: Redis, reason: str) -> None:
    await suspect(queue, redis)
    claim = await claimed(queue, "second")
    await queue.hand_back(claim.job_id, claim.fence, reason)  # type: ignore[arg-type]
    assert await redis.zscore(keys.SUSPECTS, claim.job_id) is not None


async def test_a_suspect_can_be_cancelled_while_it_waits(queue: Queue, redis: Redis) -> None:
    bad = await suspect(queue, redis)
    assert await queue.cancel(TENANT, bad) == "cancelled"
    assert await redis.zcard(keys.SUSPECTS) == 0


async def test_a_job_that_is_found_out_and_fails_becomes_a_dead_letter_with_its_request(
    queue: Queue, redis: Redis
) -> None:
    bad = await suspect(queue, redis)
    await crash(queue, redis, await claimed(queue, "second"))
    claim = await claimed(queue, "third")
    await queue.finish(bad, claim.fence, Cursor(claim.fence, 1), failed("worker_lost"), RESULT)
    ended = (await queue.get(TENANT, bad)).ended
    assert await redis.zrange(keys.DEAD, 0, -1, withscores=True) == [(bad.encode(), ended)]


async def test_a_suspect_that_completes_is_no_dead_letter(queue: Queue, redis: Redis) -> None:
    bad = await suspect(queue, redis)
    claim = await claimed(queue, "second")
    await queue.finish(bad, claim.fence, Cursor(claim.fence, 1), failed("provider_error"), RESULT)
    assert await redis.zcard(keys.DEAD) == 0
