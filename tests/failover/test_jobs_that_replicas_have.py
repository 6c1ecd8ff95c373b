"""An installation that acknowledges only what a replica has loses nothing that it acknowledged."""

from __future__ import annotations

import asyncio

from given import eventually
from installation import Wire
from sentinels import Sentineled

from tokentail.stack.redis_server import RedisServer

#: A client's pause after a refusal: often enough to be there at the first moment, and no storm.
AGAIN_SECONDS = 0.1


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
    await asyncio.to_thread(shared_sentineled.until_another_leads, primary)
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
    await asyncio.to_thread(shared_sentineled.until_another_leads, primary)
    await eventually(wire.is_ready)
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
