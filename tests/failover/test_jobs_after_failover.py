"""A primary is lost, by a crash, a freeze or on purpose: jobs and followers go on without anybody's help."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import redis
from given import eventually, lapse
from installation import Installation, Seen, Wire
from processes import until
from sentinels import Sentineled, client_of

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.stack.redis_server import RedisServer

#: Running generations, each with a follower: both workers have their hands full.
CROWD = 24
#: An attempt, 140 deltas, an ending.
STEADY_ENTRIES = 142

Crowd = list[tuple[str, "asyncio.Task[Seen]"]]


async def submitted(wire: Wire) -> str:
    """A job; sentinels that a busy machine keeps waiting may be choosing a primary for no reason of ours."""

    async def accepted() -> str | None:
        answer = await wire.post("steady")
        assert answer.status_code in (202, 503), answer.text
        return answer.json()["id"] if answer.status_code == 202 else None

    return await eventually(accepted)


async def ended(wire: Wire, job_id: str) -> dict[str, Any]:
    """The job after its ending; the same may keep a reader waiting."""

    async def told() -> dict[str, Any] | None:
        answer = await wire.http.get(f"/v1/jobs/{job_id}", params={"wait": 60})
        assert answer.status_code in (200, 503), answer.text
        return answer.json() if answer.status_code == 200 else None

    return await eventually(told)


async def begun(wire: Wire, number: int) -> Crowd:
    """Jobs in mid-answer, each with the follower that watches it."""
    jobs = await asyncio.gather(*(submitted(wire) for _ in range(number)))
    followers = [(job_id, asyncio.create_task(wire.follow(job_id))) for job_id in jobs]
    for job_id in jobs:
        await wire.until(job_id, lambda event: event["type"] == "delta")
    return followers


async def assert_went_on(wire: Wire, crowd: Crowd) -> None:
    """Each job ended in its first attempt, and its follower saw all of it on the connection it had."""
    for job_id, following in crowd:
        job = await ended(wire, job_id)
        assert (job["status"], job["attempt"]) == ("completed", 1), job
        seen = await following
        assert seen.text == job["result"]["content"]
        assert [int(str(event_id).split("-")[1]) for event_id in seen.ids] == list(range(STEADY_ENTRIES))


async def another_leads(sentineled: Sentineled, old: RedisServer) -> RedisServer:
    return await asyncio.to_thread(sentineled.until_another_leads, old)


async def test_a_crash_of_the_primary_costs_no_generation_and_no_follower(
    wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given a crowd of generations, each with a follower
    crowd = await begun(wire, CROWD)
    # When the primary crashes
    primary.kill()
    await another_leads(shared_sentineled, primary)
    # Then new jobs are taken
    await eventually(wire.is_ready)
    assert (await wire.ended(await wire.submit("quick")))["status"] == "completed"
    # And all that was running goes on
    await assert_went_on(wire, crowd)


async def test_a_planned_failover_costs_no_generation_and_no_follower(
    wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given a crowd
    crowd = await begun(wire, CROWD)
    # When an operator moves the primary
    await asyncio.to_thread(shared_sentineled.fail_over)
    await another_leads(shared_sentineled, primary)
    # Then nobody stays with the former one, which takes writes for some time
    await asyncio.to_thread(until_left, primary)
    with client_of(primary) as client:
        assert client.role()[0] == "master"
    # And all that was running goes on
    await assert_went_on(wire, crowd)


async def test_a_frozen_primary_is_left_and_nothing_that_it_does_later_matters(
    wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given a crowd
    crowd = await begun(wire, CROWD)
    # When the primary freezes, another takes over, and it comes back believing that it still leads
    os.kill(primary.pid, signal.SIGSTOP)
    await another_leads(shared_sentineled, primary)
    await eventually(wire.is_ready)
    os.kill(primary.pid, signal.SIGCONT)
    # Then none of our processes talks to it
    await asyncio.to_thread(until_left, primary)
    # And all went on with the new one
    await assert_went_on(wire, crowd)
    # And it becomes a replica, which forgets what it was told last
    await asyncio.to_thread(shared_sentineled.until_follows, primary)


def until_left(server: RedisServer) -> None:
    def is_left() -> bool:
        try:
            with client_of(server) as client:
                me = client.client_id()
                clients = client.client_list(_type="normal")
        except redis.ConnectionError:
            return False  # It is just sending everybody away.
        return not [c for c in clients if int(c["id"]) != me and not c["name"].startswith("sentinel-")]

    until(is_left, "nobody of ours is connected to the former primary")


# What no replica had got


async def test_tokens_that_were_lost_are_written_again_while_their_owner_lives(
    wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given a generation whose newest tokens no replica has got, but a follower
    ((job_id, following),) = crowd = await begun(wire, 1)
    await asyncio.to_thread(shared_sentineled.cut_replication)
    ahead = await cursor_of_the_future(wire, job_id)
    for replica in shared_sentineled.servers:
        if replica is not primary:
            with client_of(replica) as client:
                assert client.xrange(keys.log(job_id), ahead, ahead) == []
    # When the primary crashes
    primary.kill()
    leader = await another_leads(shared_sentineled, primary)
    # Then the new one learns from the worker what is missing: no follower notices anything
    await assert_went_on(wire, crowd)
    with client_of(leader) as client:
        assert client.xlen(keys.log(job_id)) == STEADY_ENTRIES
    # Nor does one that comes back with a cursor which the new one did not know at first
    late = await wire.follow(job_id, ahead)
    assert late.events == (await following).events[-len(late.events) :]


async def cursor_of_the_future(wire: Wire, job_id: str) -> str:
    """The cursor of a follower that has seen twenty entries more than there are now."""
    written = (await wire.job(job_id))["cursor"]
    return str((await wire.follow(job_id, written, most=20)).ids[-1])


async def test_a_follower_that_saw_what_is_lost_for_good_is_reset(
    wire: Wire, installation: Installation, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given a generation whose newest tokens no replica has got, but a follower, which then leaves
    ((job_id, following),) = await begun(wire, 1)
    await asyncio.to_thread(shared_sentineled.cut_replication)
    ahead = await cursor_of_the_future(wire, job_id)
    following.cancel()
    # When the primary crashes, and with it the worker that has these tokens
    owner = kill_owner(installation, primary, job_id)
    primary.kill()
    await another_leads(shared_sentineled, primary)
    async with store.client(shared_sentineled.url) as client:
        await lapse(client, job_id)
    # Then the follower that comes back, to a process that does not hold what is lost, is told to forget, and
    # sees another worker's attempt from its start
    await eventually(wire.is_ready)
    first_url = installation.url
    another_api = await asyncio.to_thread(installation.start_api)
    elsewhere = Wire(installation.url, installation.provider_url)
    installation.url = first_url
    await eventually(elsewhere.is_ready)
    following = asyncio.create_task(elsewhere.follow(job_id, ahead))
    await wire.until_delta_of(job_id, 2)
    await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    seen = await following
    assert seen.types[0] == "reset"
    assert [event for _, event in seen.events if event["type"] == "attempt"][-1]["reason"] == "lost"
    job = await wire.ended(job_id)
    assert (job["status"], job["attempt"]) == ("cancelled", 2)
    assert seen.text == job["result"]["content"]
    await elsewhere.aclose()
    await asyncio.to_thread(another_api.close)
    installation.workers.remove(owner)
    await asyncio.to_thread(installation.start_worker)


def kill_owner(installation: Installation, primary: RedisServer, job_id: str):
    """Let the worker that makes a job's attempt crash; returns it."""
    with client_of(primary) as client:
        pid = int(client.hget(keys.record(job_id), "owner").split(":")[1])
    (owner,) = [worker for worker in installation.workers if worker.pid == pid]
    owner.process.kill()
    return owner


async def test_without_waiting_for_replicas_only_jobs_of_the_last_moment_are_lost(
    wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given a job that replicas have, and one that came when they got nothing any more
    kept = await wire.submit("brisk")
    async with store.client(shared_sentineled.url) as client:
        assert await client.wait(2, 5000) == 2
    await asyncio.to_thread(shared_sentineled.cut_replication)
    lost = await wire.submit("brisk")
    # When the primary crashes
    primary.kill()
    await another_leads(shared_sentineled, primary)
    await eventually(wire.is_ready)
    # Then the first goes on, and of the second nobody has heard
    assert (await wire.ended(kept))["status"] == "completed"
    assert (await wire.http.get(f"/v1/jobs/{lost}")).status_code == 404
