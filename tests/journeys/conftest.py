"""Whole installations for the journeys: one that is shared, and new ones for tests that break them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from installation import Installation, Wire

from tokentail.stack.redis_server import RedisServer

#: The provider's scenarios under names that the tests use.
SCENARIOS = {
    "quick": "counted?tokens=40",
    "steady": "counted?tokens=150&pace_ms=10",
    "slow": "counted?tokens=3000&pace_ms=20",
    "gated": "wait?gate=g&after=5&tokens=30",
    "hang": "hang?after=3",
    "hang-first": "hang-first",
    "hang-with-comments": "hang?after=3&comments=1",
    "cut": "cut?after=5",
    "truncated": "truncated?after=5",
    "rate-limited": "rate-limited?times=1&retry_after=1&again=1&tokens=5",
    "down": "error-500",
    "flaky": "error-500?times=1&again=1&tokens=5",
    "bad-request": "bad-request",
    "unauthorized": "unauthorized",
    "reasoning": "reasoning",
    "refusal": "refusal",
    "parallel": "parallel-tool-calls",
    "same-index": "same-index-tool-calls",
    "long": "long?tokens=20000",
}


@pytest.fixture(scope="session")
def shared_installation(staffed_redis_server: RedisServer) -> Iterator[Installation]:
    """One API and one worker that no test may break or reconfigure."""
    installation = Installation(staffed_redis_server, SCENARIOS)
    installation.start_worker()
    yield installation
    installation.close()


@pytest.fixture
async def wire(shared_installation: Installation) -> AsyncIterator[Wire]:
    """A client of the shared installation."""
    client = Wire(shared_installation.url, shared_installation.provider_url)
    yield client
    await client.aclose()


@pytest.fixture
def install(new_redis_server: Callable[..., RedisServer]) -> Iterator[Callable[..., Installation]]:
    """Makes installations with a Redis of their own and no worker yet; settings by their variable."""
    made: list[Installation] = []

    def make(**settings: str) -> Installation:
        made.append(Installation(new_redis_server(), SCENARIOS, **settings))
        return made[-1]

    yield make
    for installation in made:
        installation.close()


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[Installation], Wire]]:
    """Makes clients of installations."""
    made: list[Wire] = []

    def make(installation: Installation) -> Wire:
        made.append(Wire(installation.url, installation.provider_url))
        return made[-1]

    yield make
    for wire in made:
        await wire.aclose()
