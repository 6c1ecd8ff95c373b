"""What every test may ask for. A test that uses `redis_url` talks to a real server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from installation import Installation, Wire
from processes import REDIS_BINARY

from tokentail.stack.redis_server import RedisServer

# The chaos and bench packages are not installed; this finds them however pytest was started.
if (ROOT := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.insert(0, ROOT)

# A shell that starts the tests in the background has them ignore Ctrl-C, and so all they start; some of that
# is sent one on purpose. A handler of ours becomes the default one in children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No time limit per example: a busy machine is no bug.
hypothesis.settings.register_profile("tokentail", deadline=None)
hypothesis.settings.load_profile("tokentail")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own TOKENTAIL_ variables change no test."""
    for name in [name for name in os.environ if name.startswith("TOKENTAIL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server that all tests share; only tests that never stop it may use it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), port=0, binary=REDIS_BINARY).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def staffed_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server of an installation that tests share: its worker claims whatever is queued there."""
    server = RedisServer(tmp_path_factory.mktemp("staffed-redis"), port=0, binary=REDIS_BINARY).start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The shared server, empty."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def new_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Makes servers that belong to one test, which may stop, kill and restart them.

    Call it with nothing for a started server on a free port, or with RedisServer's own arguments.
    """
    servers: list[RedisServer] = []

    def make(directory: Path | None = None, **options: object) -> RedisServer:
        options = {"port": 0, "binary": REDIS_BINARY, **options}
        server = RedisServer(directory or tmp_path_factory.mktemp("own-redis"), **options)  # type: ignore[arg-type]
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.kill()


# Whole installations: one that is shared, and new ones for tests that break them.

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
