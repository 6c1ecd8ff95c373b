"""Primaries with replicas and sentinels, real ones and scripted ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from installation import Installation, Wire
from scripted_sentinels import ScriptedSentinel
from sentinels import Sentineled

from tokentail.stack.redis_server import RedisServer

#: Longer than a failover takes here, so that nobody's job is taken for lost.
LEASE_SECONDS = "20"


@pytest.fixture
def new_sentineled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sentineled]]:
    """Makes primaries with replicas and sentinels, started, for a test to break."""
    made: list[Sentineled] = []

    def make(**options: int) -> Sentineled:
        made.append(Sentineled(tmp_path_factory.mktemp("sentineled"), **options))
        return made[-1].start()

    yield make
    for sentineled in made:
        sentineled.close()


@pytest.fixture
def sentineled(new_sentineled: Callable[..., Sentineled]) -> Sentineled:
    """A primary, a replica, three sentinels."""
    return new_sentineled()


#: The provider's scenarios under names that the tests use.
SCENARIOS = {
    "quick": "counted?tokens=20",
    # Longer than a failover takes, most often.
    "steady": "counted?tokens=140&pace_ms=40",
    "brisk": "counted?tokens=40&pace_ms=20",
}


@pytest.fixture(scope="module")
def shared_sentineled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentineled]:
    """A primary and two replicas, which the tests of one file hand to each other whole."""
    sentineled = Sentineled(tmp_path_factory.mktemp("sentineled"), replicas=2)
    yield sentineled.start()
    sentineled.close()


@pytest.fixture(scope="module")
def installation(shared_sentineled: Sentineled) -> Iterator[Installation]:
    """An API and two workers, both planes behind sentinels, that wait for no replica."""
    installation = Installation(shared_sentineled, SCENARIOS, TOKENTAIL_LEASE_SECONDS=LEASE_SECONDS)
    for _ in range(2):
        installation.start_worker()
    yield installation
    installation.close()


@pytest.fixture(scope="module")
def careful(shared_sentineled: Sentineled) -> Iterator[Installation]:
    """Another installation on the same servers, that acknowledges only what a replica has."""
    installation = Installation(
        shared_sentineled,
        SCENARIOS,
        TOKENTAIL_REDIS_URL=shared_sentineled.url_of_database(1),
        TOKENTAIL_LEASE_SECONDS=LEASE_SECONDS,
        TOKENTAIL_WAIT_REPLICAS="1",
    )
    installation.start_worker()
    yield installation
    installation.close()


@pytest.fixture
def primary(shared_sentineled: Sentineled) -> Iterator[RedisServer]:
    """The server that leads as the test begins; after it all are whole again."""
    yield shared_sentineled.leader()
    shared_sentineled.mend()


@pytest.fixture
async def wire(installation: Installation) -> AsyncIterator[Wire]:
    """A client of the installation."""
    client = Wire(installation.url, installation.provider_url)
    yield client
    await client.aclose()


@pytest.fixture
async def careful_wire(careful: Installation) -> AsyncIterator[Wire]:
    """A client of the installation that waits for replicas."""
    client = Wire(careful.url, careful.provider_url)
    yield client
    await client.aclose()


@pytest.fixture
async def three_sentinels(redis_url: str, redis_server: RedisServer) -> AsyncIterator[list[ScriptedSentinel]]:
    """Three scripted sentinels that name the shared server, which is empty, as primary."""
    sentinels = [ScriptedSentinel(redis_server) for _ in range(3)]
    for sentinel in sentinels:
        await sentinel.start()
    yield sentinels
    for sentinel in sentinels:
        sentinel.stop()
