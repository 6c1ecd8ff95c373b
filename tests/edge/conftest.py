"""API processes on the shared Redis, for tests of what goes over their sockets."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

import pytest
from api_process import Api

from tokentail.stack.redis_server import RedisServer


@pytest.fixture(scope="session", autouse=True)
def _many_sockets() -> None:
    """As many as the system lets us have, here and in what is started from here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(scope="module")
def start_api(redis_server: RedisServer) -> Iterator[Callable[..., Api]]:
    """Starts APIs that the tests of a file share; settings by their variable. Their jobs are their own."""
    started: list[Api] = []

    def start(**settings: str) -> Api:
        started.append(Api(redis_server.url, **settings))
        return started[-1]

    yield start
    for api in started:
        api.close()
