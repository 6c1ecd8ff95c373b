"""What every test may ask for. A test that uses `redis_url` talks to a real server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
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
