"""A primary is lost, by a crash, a freeze or on purpose: jobs and followers go on without anybody's help."""

from __future__ import annotations

import asyncio
import os
import signal

import redis
from given import lapse
from installation import Installation, Seen, Wire, eventually
from processes import until
from sentinels import Sentineled, client_of

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.stack.redis_server import RedisServer

#: Running generations, each with a follower: both workers have their hands full.
CROWD = 24
#: An attempt, 140 deltas, an ending.
STEADY_ENTRIES = 142
#: A client's pause after a refusal: often enough to be there at the first moment, and no storm.
AGAIN_SECONDS = 0.1

Crowd = list[tuple[str, "asyncio.Task[Seen]"]]


async def submitted(wire: Wire) -> str:
    """A job; sentinels that a busy machine keeps waiting may be choosing a primary for no reason of ours."""

    async def accepted() -> str | None:
        answer = await wire.post("steady")
        assert answer.status_code in (202, 503), answer.text
        return answer.json()["id"] if answer.status_code == 202 else None

    return await eventually(accepted)


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
        job = await wire.ended(job_id)
        assert (job["status"], job["attempt"]) == ("completed", 1), job
        seen = await following
        assert seen.text == job["result"]["content"]
        assert [int(str(event_id).split("-")[1]) for event_id in seen.ids] == list(range(STEADY_ENTRIES))


async def another_leads(sentineled: Sentineled, old: RedisServer) -> RedisServer:
    return await asyncio.to_thread(sentineled.until_another_leads, old)


async def is_ready(wire: Wire) -> bool:
    return (await wire.http.get("/readyz")).status_code == 200


async def test_a_crash_of_the_primary_costs_no_generation_and_no_follower(
    wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given a crowd of generations, each with a follower
    crowd = await begun(wire, CROWD)
    # When the primary crashes
    primary.kill()
    await another_leads(shared_sentineled, primary)
    # Then new jobs are taken
    await eventually(lambda: is_ready(wire))
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
    await eventually(lambda: is_ready(wire))
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
    # Then the follower that comes back is told to forget, and sees another worker's attempt from its start
    await eventually(lambda: is_ready(wire))
    following = asyncio.create_task(wire.follow(job_id, ahead))
    await wire.until_delta_of(job_id, 2)
    await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    seen = await following
    assert seen.types[0] == "reset"
    assert [event for _, event in seen.events if event["type"] == "attempt"][-1]["reason"] == "lost"
    job = await wire.ended(job_id)
    assert (job["status"], job["attempt"]) == ("cancelled", 2)
    assert seen.text == job["result"]["content"]
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
    await eventually(lambda: is_ready(wire))
    # Then the first goes on, and of the second nobody has heard
    assert (await wire.ended(kept))["status"] == "completed"
    assert (await wire.http.get(f"/v1/jobs/{lost}")).status_code == 404


async def test_a_job_that_no_replica_has_is_not_acknowledged_if_one_must(
    careful_wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    # Given an installation that waits for a replica
    assert (await careful_wire.post("quick")).status_code == 202
    # When replicas get nothing; Then a submit is refused, and the client told to come back
    await asyncio.to_thread(shared_sentineled.cut_replication)
    answer = await careful_wire.post("quick", {"Idempotency-Key": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    # And when it comes back, and they get everything again, it finds what it has submitted before
    await asyncio.to_thread(shared_sentineled.mend)
    answer = await careful_wire.post("quick", {"Idempotency-Key": "mine"})
    assert answer.status_code == 200
    assert (await careful_wire.ended(answer.json()["id"]))["status"] == "completed"


async def test_waiting_for_a_replica_no_acknowledged_job_is_lost(
    careful_wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    wire = careful_wire
    # Given clients that submit as fast as they can
    accepted: list[str] = []
    stop = asyncio.Event()
    clients = [asyncio.create_task(_submit(wire, accepted, stop)) for _ in range(4)]
    await eventually(lambda: len(accepted) > 20)
    # When the primary crashes among all that
    primary.kill()
    await another_leads(shared_sentineled, primary)
    count = len(accepted)
    await eventually(lambda: len(accepted) > count)
    stop.set()
    await asyncio.gather(*clients)
    # Then every job that was acknowledged is there and ends
    for job_id in accepted:
        assert (await wire.ended(job_id))["status"] == "completed"


async def test_waiting_for_a_replica_an_ending_that_was_seen_stays_true(
    careful_wire: Wire, shared_sentineled: Sentineled, primary: RedisServer
) -> None:
    wire = careful_wire
    # Given an ending that a follower has seen, and no replica
    job_id = await wire.submit("brisk")
    await wire.until(job_id, lambda event: event["type"] == "delta")
    await asyncio.to_thread(shared_sentineled.cut_replication)
    before = await wire.follow(job_id)
    assert before.endings == ["completed"]
    # When the primary crashes
    primary.kill()
    await another_leads(shared_sentineled, primary)
    await eventually(lambda: is_ready(wire))
    # Then the worker, which has not taken it for done, writes all of it again
    job = await wire.ended(job_id)
    assert (job["status"], job["attempt"], job["cursor"]) == ("completed", 1, before.ids[-1])
    assert (await wire.follow(job_id)).events == before.events


async def _submit(wire: Wire, accepted: list[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        answer = await wire.post("quick")
        if answer.status_code == 202:
            accepted.append(answer.json()["id"])
        else:
            await asyncio.sleep(AGAIN_SECONDS)
