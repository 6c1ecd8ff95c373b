"""A worker keeps its leases by heartbeat and obeys when they are gone."""

from __future__ import annotations

from collections.abc import Callable

from given import TENANT, claimed, eventually, lapse, running
from keeping import hold, kept
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.claim import Held
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer
from tokentail.worker.attempt import Stop
from tokentail.worker.leases import Leases


async def test_a_renewal_tells_each_attempt_what_became_of_its_job(
    queue: Queue, redis: Redis, settings: Settings
) -> None:
    leases = Leases("worker-1", queue, settings)
    held, cancel, lost, gone = [hold(leases, await running(queue)) for _ in range(4)]
    await queue.cancel(TENANT, cancel.claim.job_id)
    await lapse(redis, lost.claim.job_id)
    await claimed(queue, "worker-2")
    await queue.delete(TENANT, gone.claim.job_id)
    await leases.renew()
    assert [a.stops for a in (held, cancel, lost, gone)] == [[], [Stop.CANCEL], [Stop.LOST], [Stop.GONE]]


async def test_word_of_an_old_attempt_does_not_reach_the_new_one(
    queue: Queue, redis: Redis, settings: Settings
) -> None:
    # Given a worker that lost a job and claimed it again before the old attempt had gone
    leases = Leases("worker-1", queue, settings)
    old = hold(leases, await running(queue))
    await lapse(redis, old.claim.job_id)
    new = hold(leases, await claimed(queue))
    assert new.claim.job_id == old.claim.job_id
    # When a message about the old one arrives
    leases.obey(old.claim.job_id, old.claim.fence, Held.CANCEL)
    assert (old.stops, new.stops) == ([Stop.CANCEL], [])
    # And when the leases are renewed
    await leases.renew()
    assert (old.stops, new.stops) == ([Stop.CANCEL, Stop.LOST], [])
    # And each is released for itself
    leases.release(old)  # type: ignore[arg-type]
    assert list(leases.attempts()) == [new]


async def test_word_of_jobs_that_are_not_here_is_ignored(queue: Queue, settings: Settings) -> None:
    leases = Leases("worker-1", queue, settings)
    leases.obey("job_unknown", 1, Held.CANCEL)
    assert list(leases.attempts()) == []


async def test_a_cancel_that_overtakes_the_claim_it_speaks_of_is_obeyed(
    queue: Queue, settings: Settings
) -> None:
    # Given a job that is cancelled while the answer to its claim is on its way to the worker
    leases = Leases("worker-1", queue, settings)
    claim = await running(queue)
    leases.obey(claim.job_id, claim.fence, Held.CANCEL)
    # When the answer is there; Then the attempt is stopped as it begins
    attempt = hold(leases, claim)
    assert attempt.stops == [Stop.CANCEL]
    # And a word that no claim followed is not kept
    leases.obey("job_unknown", 1, Held.GONE)
    await leases.renew()
    assert leases._early == {}


async def test_a_kept_lease_never_lapses(redis: Redis, redis_url: str) -> None:
    # Given a lease of half a second
    settings = Settings(redis_url=redis_url, lease_seconds=0.5)
    queue = Queue(redis, settings)
    leases = Leases("worker-1", queue, settings)
    attempt = hold(leases, await running(queue))
    first = await redis.zscore(keys.LEASES, attempt.claim.job_id) or 0
    async with kept(leases):
        # When more than three times that has passed

        async def is_far() -> bool:
            assert not (await queue.claim("thief", 1)).jobs
            return (await redis.zscore(keys.LEASES, attempt.claim.job_id) or 0) > first + 1500

        await eventually(is_far)
        # Then nobody could claim the job meanwhile
        assert attempt.stops == []
        assert await redis.zrange(keys.WORKERS, 0, -1) == [b"worker-1"]


async def test_a_claim_that_took_as_long_as_its_lease_begins_nothing(
    queue: Queue, settings: Settings
) -> None:
    # Given a claim whose answer came, or was looked at, when others could have had the job
    leases = Leases("worker-1", queue, settings)
    attempt = hold(leases, await running(queue), seconds_ago=settings.lease_seconds)
    # Then its attempt is stopped as it begins
    assert attempt.stops == [Stop.LOST]


async def test_a_short_outage_costs_no_job(new_redis_server: Callable[..., RedisServer]) -> None:
    server = new_redis_server()
    settings = Settings(redis_url=server.url, lease_seconds=8)
    async with store.client(server.url) as client:
        queue = Queue(client, settings)
        leases = Leases("worker-1", queue, settings)
        attempt = hold(leases, await running(queue))
    async with kept(leases):
        # When Redis restarts
        server.kill()
        server.start()
        async with store.client(server.url) as client:
            before = await client.zscore(keys.LEASES, attempt.claim.job_id) or 0

            # Then the lease is renewed with it and the attempt goes on
            async def renewed() -> bool:
                return (await client.zscore(keys.LEASES, attempt.claim.job_id) or 0) > before

            await eventually(renewed)
        assert attempt.stops == []
