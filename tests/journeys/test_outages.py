"""Redis away: nothing hangs, nothing is lost, and everything goes on when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from given import eventually
from installation import Installation, Seen, Wire
from redis.asyncio import Redis

from tokentail.shared import keys


async def test_submit_answers_503_at_once_while_redis_is_away(install, client_of) -> None:
    # Given an installation whose Redis has stopped
    installation: Installation = install()
    wire: Wire = client_of(installation)
    await wire.submit("quick")
    installation.redis.stop()
    # When somebody submits, reads or lists
    began = time.monotonic()
    answers = [await wire.post("quick"), await wire.http.get("/v1/jobs"), await wire.http.get("/readyz")]
    # Then each is refused at once, and told when to come back
    assert time.monotonic() - began < 5
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert answers[0].json()["code"] == "unavailable"
    assert int(answers[0].headers["retry-after"]) > 0
    # And the operator finds the reason in the log, once for all of them
    await asyncio.to_thread(installation.api.wait_for, "Redis does not answer.*requests are refused")
    assert installation.api.said.count("requests are refused") == 1
    # And when Redis is back, submit works again
    installation.redis.start()
    await eventually(lambda: _submits(wire))


async def _submits(wire: Wire) -> bool:
    return (await wire.post("quick")).status_code == 202


async def test_a_redis_that_hangs_makes_nobody_hang(install, client_of) -> None:
    # Given a Redis that takes connections and answers nothing
    installation: Installation = install()
    wire: Wire = client_of(installation)
    os.kill(installation.redis.pid, signal.SIGSTOP)
    try:
        # When somebody submits; Then 503 comes in bounded time
        assert (await wire.post("quick")).status_code == 503
    finally:
        os.kill(installation.redis.pid, signal.SIGCONT)
    await eventually(lambda: _submits(wire))


async def test_a_restart_of_redis_costs_a_running_generation_nothing(install, client_of) -> None:
    # Given a generation with a follower
    installation: Installation = install(TOKENTAIL_LEASE_SECONDS="20")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("steady")
    following = asyncio.create_task(wire.follow(job_id))
    await wire.until(job_id, lambda event: event["type"] == "delta")
    # When Redis stops and comes back
    installation.redis.stop()
    installation.redis.start()
    # Then the follower sees it all on one connection or with its cursor on the next, in one attempt
    seen = await following
    while not seen.endings:
        seen.events += (await wire.follow(job_id, seen.ids[-1])).events
    job = await wire.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 1)
    assert seen.text == job["result"]["content"]
    seqs = [int(str(event_id).split("-")[1]) for event_id in seen.ids]
    assert seqs == list(range(152))


async def test_a_job_that_ends_while_redis_is_away_is_ended_when_it_is_back(install, client_of) -> None:
    # Given a job whose provider waits for a sign
    installation: Installation = install(TOKENTAIL_LEASE_SECONDS="20")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("gated")
    await wire.follow(job_id, most=6)
    # When Redis stops, and the provider finishes meanwhile
    installation.redis.stop()
    await wire.open_gate("g")
    await eventually(lambda: _nothing_open(wire))
    installation.redis.start()
    # Then all of it is stored, once
    job = await wire.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 1)
    seen = await wire.follow(job_id)
    assert seen.text == job["result"]["content"]
    assert seen.text.split("] ")[1] == "".join(f"{number} " for number in range(29))


async def _nothing_open(wire: Wire) -> bool:
    return (await wire.stats())["open_streams"] == 0


async def test_tokens_that_redis_forgot_are_written_again_with_their_ids(install, client_of) -> None:
    # Given a generation in mid-answer, and a follower that has seen some of it
    installation: Installation = install(TOKENTAIL_LEASE_SECONDS="20")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("gated")
    following = asyncio.create_task(wire.follow(job_id))
    await wire.follow(job_id, most=6)
    # When Redis goes and comes back without that log
    async with Redis.from_url(installation.redis.url) as redis:
        await redis.delete(keys.log(job_id))
    installation.redis.stop()
    installation.redis.start()
    await wire.open_gate("g")
    # Then the worker, which still holds them, writes all of them again
    job = await wire.ended(job_id)
    assert job["attempt"] == 1
    seen = await wire.follow(job_id)
    seqs = [int(str(event_id).split("-")[1]) for event_id in seen.ids]
    assert seqs == list(range(32))
    # And the follower that was ahead has the same list
    first: Seen = await following
    assert first.events == seen.events


async def test_outages_longer_than_the_lease_start_a_job_anew_but_never_condemn_it(
    install, client_of
) -> None:
    # Given a long generation, and leases of a second
    installation: Installation = install(TOKENTAIL_LEASE_SECONDS="1")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("slow")
    for attempt in (1, 2, 3):
        await wire.until_delta_of(job_id, attempt)
        # When Redis hangs until the worker has given the job up
        os.kill(installation.redis.pid, signal.SIGSTOP)
        await eventually(lambda: _nothing_open(wire))
        os.kill(installation.redis.pid, signal.SIGCONT)
    # Then each time it goes on in a new attempt, and no worker is said to have crashed
    await wire.until_delta_of(job_id, 4)
    async with Redis.from_url(installation.redis.url) as redis:
        assert await redis.hget(keys.record(job_id), "crashes") == b"0"
    await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (await wire.follow(job_id)).endings == ["cancelled"]


async def test_a_log_that_lost_its_ending_for_good_is_said_to_be_gone(install, client_of) -> None:
    # Given a completed job, whose log comes back without its end when nobody holds the entries any more
    installation: Installation = install()
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("quick")
    job = await wire.ended(job_id)
    full = await wire.follow(job_id)
    async with Redis.from_url(installation.redis.url) as redis:
        await redis.xdel(keys.log(job_id), *[str(event_id) for event_id in full.ids[20:]])
    await asyncio.to_thread(installation.start_api)
    wire = client_of(installation)
    # When somebody follows it; Then it does not wait for an ending that won't come
    answer = await wire.http.get(f"/v1/jobs/{job_id}/events")
    assert (answer.status_code, answer.json()["code"]) == (410, "log_expired")
    # And the result is where it was
    assert await wire.job(job_id) == job
