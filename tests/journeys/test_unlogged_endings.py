"""A job that ended in the queue, by a process that died before it told the log: whoever looks tells it."""

from __future__ import annotations

from typing import Any

from given import attempt, claimed, delta, whole_log, written
from installation import Installation, Wire
from redis.asyncio import Redis

from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


async def cancelled_and_untold(wire: Wire, redis: Redis) -> str:
    """A job that was cancelled between two attempts, whose log knows nothing of it."""
    queue = Queue(redis, Settings())
    job_id = await wire.submit("quick")
    claim = await claimed(queue)
    await written(redis, job_id, claim.fence, attempt(), delta("Hel"))
    await queue.hand_back(job_id, claim.fence, "handoff")
    assert await queue.cancel("default", job_id) == "cancelled"
    return job_id


async def test_each_way_to_look_at_it_shows_the_ending_with_what_was_said_and_tells_the_log(
    install, client_of
) -> None:
    installation: Installation = install()
    wire: Wire = client_of(installation)

    async def get(job_id: str) -> dict[str, Any]:
        return await wire.job(job_id)

    async def cancel(job_id: str) -> dict[str, Any]:
        answer = await wire.http.post(f"/v1/jobs/{job_id}/cancel")
        assert answer.status_code == 200
        return answer.json()  # type: ignore[no-any-return]

    async def follow(job_id: str) -> dict[str, Any]:
        assert (await wire.follow(job_id)).types == ["attempt", "delta", "cancelled"]
        return await wire.job(job_id)

    async with Redis.from_url(installation.redis.url) as redis:
        for look in (get, cancel, follow):
            # Given such a job
            job_id = await cancelled_and_untold(wire, redis)
            # When somebody looks at it; Then it has ended, with what was said before
            job = await look(job_id)
            assert (job["status"], job["result"]["content"]) == ("cancelled", "Hel")
            # And the log says so, too
            log = [event["type"] for _, event in await whole_log(redis, job_id)]
            assert log == ["attempt", "delta", "cancelled"]
