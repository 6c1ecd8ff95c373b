"""Workers that die, freeze or are told to stop: every job still reaches exactly one ending."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from given import eventually
from installation import LEASE_SECONDS, Installation, Seen, Wire
from processes import Running
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


async def owner(installation: Installation, job_id: str) -> Running:
    """The worker that runs a job."""
    async with Redis.from_url(installation.redis.url, decode_responses=True) as redis:
        name = await redis.hget(keys.record(job_id), "owner")
    return next(worker for worker in installation.workers if str(worker.pid) == str(name).split(":")[1])


async def two_workers(install, client_of, **settings: str) -> tuple[Installation, Wire]:
    installation: Installation = install(**settings)
    await asyncio.gather(*(asyncio.to_thread(installation.start_worker) for _ in range(2)))
    return installation, client_of(installation)


async def test_a_killed_workers_job_starts_again_elsewhere_within_the_lease(install, client_of) -> None:
    # Given two workers, and a follower of a job in mid-answer
    installation, wire = await two_workers(install, client_of)
    job_id = await wire.submit("steady")
    following = asyncio.create_task(wire.follow(job_id))
    await wire.until(job_id, lambda event: event["type"] == "delta")
    # When the worker that runs it is killed
    (await owner(installation, job_id)).process.kill()
    killed_at = time.monotonic()
    # Then the follower sees attempt 2, because its worker was lost, soon after the lease lapsed
    seen = await following
    attempts = [
        (event, at)
        for (_, event), at in zip(seen.events, seen.arrived, strict=True)
        if event["type"] == "attempt"
    ]
    assert [event for event, _ in attempts][1:] == [{"type": "attempt", "attempt": 2, "reason": "lost"}]
    assert attempts[1][1] - killed_at <= LEASE_SECONDS + 2
    # And the result is the second attempt's text alone, ended once
    job = await wire.ended(job_id)
    assert seen.endings == ["completed"]
    assert job["attempt"] == 2
    assert job["result"]["content"] == seen.text
    assert seen.text.split("] ")[1] == "".join(f"{number} " for number in range(149))
    # And the provider was asked twice and has no connection left open
    assert (await wire.stats())["started"] == 2


async def test_a_frozen_worker_that_wakes_after_the_takeover_writes_and_finishes_nothing(
    install, client_of
) -> None:
    # Given two workers and a job in mid-answer
    installation, wire = await two_workers(install, client_of)
    job_id = await wire.submit("steady")
    await wire.until(job_id, lambda event: event["type"] == "delta")
    # When its worker freezes past its lease, and another has taken over
    frozen = await owner(installation, job_id)
    os.kill(frozen.pid, signal.SIGSTOP)
    await wire.until(job_id, lambda event: event.get("attempt") == 2)
    # And then wakes, with tokens to write
    os.kill(frozen.pid, signal.SIGCONT)
    await asyncio.to_thread(frozen.wait_for, "attempt is over.*lost|lost.*attempt is over")
    # Then behind attempt 2 there is nothing of attempt 1
    job = await wire.ended(job_id)
    seen = await wire.follow(job_id)
    fences = [str(event_id).split("-")[0] for event_id in seen.ids]
    second = seen.types.index("attempt", 1)
    assert set(fences[second:]) == {fences[-1]}
    assert set(fences[:second]) == {fences[0]}
    assert seen.endings == ["completed"]
    assert job["result"]["content"] == seen.text


async def test_a_frozen_worker_that_wakes_after_the_job_has_ended_changes_nothing(install, client_of) -> None:
    # Given a job whose worker froze, and which another has finished
    installation, wire = await two_workers(install, client_of)
    job_id = await wire.submit("steady")
    await wire.until(job_id, lambda event: event["type"] == "delta")
    frozen = await owner(installation, job_id)
    os.kill(frozen.pid, signal.SIGSTOP)
    before = (await wire.ended(job_id), await wire.follow(job_id))
    # When it wakes
    os.kill(frozen.pid, signal.SIGCONT)
    await asyncio.to_thread(frozen.wait_for, "attempt is over.*lost|lost.*attempt is over")
    # Then job and log are what they were
    assert (await wire.job(job_id), (await wire.follow(job_id)).events) == (before[0], before[1].events)


async def test_jobs_that_can_end_within_the_drain_time_are_not_restarted(install, client_of) -> None:
    # Given two workers and a job that has a second to go
    installation, wire = await two_workers(install, client_of)
    job_id = await wire.submit("steady")
    await wire.until(job_id, lambda event: event["type"] == "delta")
    # When its worker is told to stop
    stopping = await owner(installation, job_id)
    stopping.process.send_signal(signal.SIGTERM)
    # Then the job ends in its first attempt, and the worker exits with 0
    job = await wire.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 1)
    assert await asyncio.to_thread(stopping.wait) == 0, stopping.said


async def test_a_draining_worker_claims_nothing_more(install, client_of) -> None:
    # Given one worker with a job that keeps it draining
    installation: Installation = install(TOKENTAIL_DRAIN_SECONDS="60")
    worker = await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    running = await wire.submit("hang")
    await wire.follow(running, most=3)
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for, "draining")
    # When another job is submitted
    waiting = await wire.submit("quick")
    # Then the drain ends with the running job's end, and the other one was never started
    await wire.http.post(f"/v1/jobs/{running}/cancel")
    assert await asyncio.to_thread(worker.wait) == 0, worker.said
    assert (await wire.job(waiting))["attempt"] == 0


async def test_what_can_not_end_in_time_is_handed_back_and_goes_on_elsewhere_at_once(
    install, client_of
) -> None:
    # Given two workers that drain for half a second, and a long generation with a follower
    installation, wire = await two_workers(install, client_of, TOKENTAIL_DRAIN_SECONDS="0.5")
    job_id = await wire.submit("slow")
    following = asyncio.create_task(wire.follow(job_id))
    await wire.until(job_id, lambda event: event["type"] == "delta")
    # When its worker is told to stop
    stopping = await owner(installation, job_id)
    stopping.process.send_signal(signal.SIGTERM)
    # Then another one begins attempt 2, as a handoff
    await wire.until(job_id, lambda event: event.get("attempt") == 2)
    await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    seen = await following
    second = seen.types.index("attempt", 1)
    assert seen.events[second][1]["reason"] == "handoff"
    # And it began within 100 ms of the last token before it (which comes every 20 ms)
    assert seen.arrived[second] - seen.arrived[second - 1] <= 0.1
    # And the one that stopped exits with 0
    assert await asyncio.to_thread(stopping.wait) == 0, stopping.said
    # And it has cost the job no try and counts as no crash
    async with Redis.from_url(installation.redis.url, decode_responses=True) as redis:
        assert await redis.hmget(keys.record(job_id), "handoffs", "tries", "crashes") == ["1", "0", "0"]


async def test_a_second_signal_hands_back_at_once(install, client_of) -> None:
    # Given a worker that would drain for a minute
    installation: Installation = install(TOKENTAIL_DRAIN_SECONDS="60")
    worker = await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("hang")
    await wire.follow(job_id, most=3)
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for, "draining")
    # When it gets a second signal
    worker.process.send_signal(signal.SIGTERM)
    # Then the job is in the queue again and the worker has exited with 0
    assert await asyncio.to_thread(worker.wait) == 0, worker.said
    assert (await wire.job(job_id))["status"] == "queued"


async def test_a_job_that_takes_down_two_workers_ends_as_failed(install, client_of) -> None:
    # Given a job whose worker is killed, twice
    installation, wire = await two_workers(install, client_of)
    job_id = await wire.submit("slow")
    for attempt in (1, 2):
        await wire.until_delta_of(job_id, attempt)
        (await owner(installation, job_id)).process.kill()
    # When a third worker finds it
    third = await asyncio.to_thread(installation.start_worker)
    # Then it is not run again but ended, and the operator can read why
    job = await wire.ended(job_id)
    assert job["error"]["code"] == "worker_lost"
    await asyncio.to_thread(third.wait_for, job_id + ".*dead letter")
    await asyncio.to_thread(third.wait_for, "failed: worker_lost")
    assert (await wire.follow(job_id)).endings == ["failed"]
    assert (await wire.stats())["started"] == 2


async def test_an_api_that_is_stopped_ends_its_streams_cleanly_and_followers_go_on_at_another(
    install, client_of
) -> None:
    # Given a follower at an API
    installation: Installation = install()
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("steady")
    following = asyncio.create_task(wire.follow(job_id))
    await wire.until(job_id, lambda event: event["type"] == "delta")
    # When the API is told to stop
    old = installation.api
    old.process.send_signal(signal.SIGTERM)
    # Then the stream ends without an error and without an ending, and the process exits with 0
    first = await following
    assert first.endings == []
    assert await asyncio.to_thread(old.wait) == 0, old.said
    # And the follower goes on at another API where it was
    await asyncio.to_thread(installation.start_api)
    again: Wire = client_of(installation)
    rest = await again.follow(job_id, first.ids[-1])
    assert Seen(events=first.events + rest.events).events == (await again.follow(job_id)).events


async def test_a_follower_of_a_job_whose_ending_was_decided_but_never_written_gets_it(
    install, client_of
) -> None:
    # Given a queued job that is cancelled by somebody who dies before the log is told
    installation: Installation = install()
    wire: Wire = client_of(installation)
    job_id = await wire.submit("quick")
    following = asyncio.create_task(wire.follow(job_id))
    async with Redis.from_url(installation.redis.url) as redis:
        assert await Queue(redis, Settings()).cancel("default", job_id) == "cancelled"
        assert not await redis.exists(keys.log(job_id))
        # When a follower is there
        seen = await following
        # Then the ending comes all the same, and the log has it once
        assert seen.endings == ["cancelled"]
        await eventually(lambda: redis.exists(keys.log(job_id)))
        assert await redis.xlen(keys.log(job_id)) == 1
