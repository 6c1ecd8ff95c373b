"""What a Redis user must be allowed is what the documentation says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from installation import Installation, Wire
from processes import TOKENTAIL, Running
from redis import Redis

from tokentail.stack.redis_server import RedisServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.fixture
def installation(new_redis_server: Callable[..., RedisServer]) -> Iterator[Installation]:
    server = new_redis_server()
    rights = re.search(r"rights cut down needs `([^`]+)`", DOCUMENT.read_text())
    assert rights is not None
    with Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">pass", "~tt:*", *rights[1].split())
    url = server.url.replace("redis://", "redis://few:pass@")
    made = Installation(
        SimpleNamespace(url=url), {"quick": "counted?tokens=40", "slow": "counted?tokens=3000&pace_ms=20"}
    )
    yield made
    made.close()


async def test_a_user_with_the_documented_rights_is_enough(
    installation: Installation, client_of: Callable[[Installation], Wire]
) -> None:
    await asyncio.to_thread(installation.start_worker)
    wire = client_of(installation)
    # When a job is followed while it runs, another one is cancelled, and one is deleted
    quick, slow = await wire.submit("quick"), await wire.submit("slow")
    assert (await wire.follow(quick)).endings == ["completed"]
    await wire.until_delta_of(slow, 1)
    await wire.http.post(f"/v1/jobs/{slow}/cancel")
    assert (await wire.follow(slow)).endings == ["cancelled"]
    assert (await wire.http.delete(f"/v1/jobs/{quick}")).status_code == 204
    # Then nobody had to complain
    assert not [line for line in installation.api.said.splitlines() if "NOPERM" in line]


async def test_nor_does_what_an_operator_looks_at_take_it_for_broken(installation: Installation) -> None:
    await asyncio.to_thread(installation.start_worker)
    # Then the metrics of such an API say that both planes are there
    async with httpx.AsyncClient(base_url=installation.url) as http:
        metrics = (await http.get("/metrics")).text
    assert re.findall(r"^tokentail_redis_up.* (\S+)$", metrics, re.MULTILINE) == ["1.0", "1.0"]
    # And the doctor finds nothing that is not allowed
    doctor = Running([TOKENTAIL, "doctor"], env=installation.env)
    try:
        await asyncio.to_thread(doctor.wait)
        assert "no permissions" not in doctor.said.lower()
        assert "not usable" not in doctor.said
    finally:
        doctor.close()
