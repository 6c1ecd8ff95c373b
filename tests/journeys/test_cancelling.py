"""Cancel and delete, whatever the job is doing."""

from __future__ import annotations

import asyncio
import time

from given import eventually
from installation import Installation, Wire
from redis.asyncio import Redis

from tokentail.shared import keys


async def test_cancelling_a_queued_job_ends_it_at_once_and_its_follower_hears_of_it(
    install, client_of
) -> None:
    # Given a job that waits, for there is no worker, and its follower
    installation: Installation = install()
    wire: Wire = client_of(installation)
    job_id = await wire.submit("quick")
    following = asyncio.create_task(wire.follow(job_id))
    # When it is cancelled
    answer = await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    # Then it has ended there and then
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    seen = await following
    assert seen.types == ["cancelled"]
    assert seen.events[0][1]["reason"] == "requested"
    # And no worker ever runs it
    await asyncio.to_thread(installation.start_worker)
    other = await wire.submit("quick")
    await wire.ended(other)
    assert (await wire.stats())["started"] == 1


async def test_cancelling_a_running_job_closes_the_providers_connection_within_200_ms(wire: Wire) -> None:
    # Given a job in mid-answer, its connection open at the provider
    job_id = await wire.submit("hang")
    await wire.follow(job_id, most=3)
    before = await wire.stats()
    # When it is cancelled
    cancelled_at = time.monotonic()
    answer = await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == (200 if answer.json()["ended_at"] else 202)
    # Then the provider sees its client leave (the clock is the machine's, the same for all its processes)
    stats = await eventually(lambda: _left(wire, before["ended"]["client_closed"]))
    request = stats["requests"][-1]
    assert request["state"] == "client_closed"
    assert request["ended_monotonic"] - cancelled_at <= 0.2
    # And the log ends as cancelled, with what was used so far
    job = await wire.ended(job_id)
    assert job["status"] == "cancelled"
    assert job["usage"]["source"] == "estimated"
    assert job["usage"]["completion_tokens"] > 0
    assert (await wire.follow(job_id)).endings == ["cancelled"]


async def _left(wire: Wire, before: int) -> dict | None:
    stats = await wire.stats()
    return stats if stats["ended"]["client_closed"] > before else None


async def test_a_job_can_be_cancelled_before_the_provider_has_said_a_word(wire: Wire) -> None:
    # Given a job whose provider has not even answered
    job_id = await wire.submit("hang-first")
    await wire.until(job_id, lambda event: event["type"] == "attempt")
    open_before = await eventually(lambda: _open(wire, 1))
    # When it is cancelled; Then the connection is closed and the job ends
    await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (await wire.ended(job_id))["status"] == "cancelled"
    await eventually(lambda: _fewer_open(wire, open_before))


async def _open(wire: Wire, least: int) -> int | None:
    streams = (await wire.stats())["open_streams"]
    return streams if streams >= least else None


async def _fewer_open(wire: Wire, before: int) -> bool:
    return (await wire.stats())["open_streams"] < before


async def test_cancelling_an_ended_job_changes_nothing_and_says_how_it_ended(wire: Wire) -> None:
    # Given a completed job
    job_id = await wire.submit("quick")
    before = await wire.ended(job_id)
    # When it is cancelled, twice; Then the answer is the job as it is
    for _ in range(2):
        answer = await wire.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()) == (200, before)
    assert (await wire.follow(job_id)).endings == ["completed"]


async def test_cancelling_twice_ends_once(wire: Wire) -> None:
    # Given a running job
    job_id = await wire.submit("hang")
    await wire.follow(job_id, most=3)
    # When ten clients cancel it at once
    cancels = (wire.http.post(f"/v1/jobs/{job_id}/cancel") for _ in range(10))
    answers = await asyncio.gather(*cancels)
    # Then each is told that it is being or has been done, and the log has one ending
    assert {answer.status_code for answer in answers} <= {200, 202}
    await wire.ended(job_id)
    assert (await wire.follow(job_id)).endings == ["cancelled"]


async def test_a_cancel_survives_the_death_of_the_jobs_worker(install, client_of) -> None:
    # Given a job that is cancelled after its worker was killed, so that nobody hears it
    installation: Installation = install()
    worker = await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("hang")
    await wire.follow(job_id, most=3)
    worker.process.kill()
    worker.wait()
    assert (await wire.http.post(f"/v1/jobs/{job_id}/cancel")).status_code == 202
    # When another worker comes
    await asyncio.to_thread(installation.start_worker)
    # Then it ends the job and does not ask the provider again
    assert (await wire.ended(job_id))["status"] == "cancelled"
    assert (await wire.stats())["started"] == 1


async def test_deleting_leaves_nothing_behind_whatever_the_job_was_doing(install, client_of) -> None:
    # Given an ended, a running and a queued job, submitted with idempotency keys
    installation: Installation = install(TOKENTAIL_CONCURRENCY="1")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    ended = await wire.submit("quick", {"Idempotency-Key": "1"})
    await wire.ended(ended)
    running = await wire.submit("hang", {"Idempotency-Key": "2"})
    await wire.follow(running, most=3)
    queued = await wire.submit("quick", {"Idempotency-Key": "3"})
    following = asyncio.create_task(wire.follow(running))
    # When they are deleted
    for job_id in (queued, running, ended):
        assert (await wire.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        # Then each is as unknown as if it had never been
        for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/events"):
            assert (await wire.http.get(path)).status_code == 404
        assert (await wire.http.delete(f"/v1/jobs/{job_id}")).status_code == 404
    # And the running one's follower saw it cancelled
    assert (await following).endings == ["cancelled"]
    # And Redis holds nothing of them, but what is the workers' and the queue's
    of_workers = (keys.CONTROL_PREFIX, keys.ALONE_PREFIX, keys.claimed(""))
    async with Redis.from_url(installation.redis.url, decode_responses=True) as redis:
        left = [key async for key in redis.scan_iter() if not key.startswith(of_workers)]
    assert set(left) <= {keys.WORKERS, keys.LAG, keys.BELL, keys.PACE}


async def test_a_deleted_jobs_address_can_be_used_again_with_the_same_key(wire: Wire) -> None:
    # Given a deleted job
    headers = {"Idempotency-Key": "again"}
    first = await wire.submit("quick", headers)
    await wire.http.delete(f"/v1/jobs/{first}")
    # When its key comes again; Then that is a new job
    assert await wire.submit("quick", headers) != first
