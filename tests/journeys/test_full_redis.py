"""A Redis that has nearly no memory left takes no new jobs, and keeps those that it has."""

from __future__ import annotations

from given import eventually
from installation import Installation, Wire
from redis.asyncio import Redis


async def test_jobs_are_refused_before_redis_is_full_and_accepted_when_there_is_room_again(
    install, client_of
) -> None:
    # Given a job that waits, and a Redis that is nearly full, where another one would still fit
    installation: Installation = install()
    wire: Wire = client_of(installation)
    waits = await wire.submit("quick", {"Idempotency-Key": "waits"})
    async with Redis.from_url(installation.redis.url) as redis:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", int(used / 0.95))

        async def answered(status: int) -> bool:
            # The same request each time, which fills nothing.
            return (await wire.post("quick", {"Idempotency-Key": "waits"})).status_code == status

        # Then others are soon refused, and told when to come back
        await eventually(lambda: answered(503))
        answer = await wire.post("quick")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "memory" in answer.json()["detail"]
        # And the one that waits still does
        assert (await wire.job(waits))["status"] == "queued"
        # When there is room again; Then jobs are accepted
        await redis.config_set("maxmemory", 0)
        await eventually(lambda: answered(200))
        await wire.submit("quick")
