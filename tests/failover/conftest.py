"""Primaries with replicas and sentinels, real ones and scripted ones."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from scripted_sentinels import ScriptedSentinel
from sentinels import Sentineled

from tokentail.stack.redis_server import RedisServer

#: The same as everywhere, see tests/conftest.py.
REDIS_BINARY = Path(chosen) if (chosen := os.environ.get("TOKENTAIL_TEST_REDIS_SERVER")) else None


@pytest.fixture
def new_sentineled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sentineled]]:
    """Makes primaries with replicas and sentinels, started, for a test to break."""
    made: list[Sentineled] = []

    def make(**options: int) -> Sentineled:
        made.append(Sentineled(tmp_path_factory.mktemp("sentineled"), binary=REDIS_BINARY, **options))
        return made[-1].start()

    yield make
    for sentineled in made:
        sentineled.close()


@pytest.fixture
def sentineled(new_sentineled: Callable[..., Sentineled]) -> Sentineled:
    """A primary, a replica, three sentinels."""
    return new_sentineled()


@pytest.fixture
async def three_sentinels(redis_url: str, redis_server: RedisServer) -> AsyncIterator[list[ScriptedSentinel]]:
    """Three scripted sentinels that name the shared server, which is empty, as primary."""
    sentinels = [ScriptedSentinel(redis_server) for _ in range(3)]
    for sentinel in sentinels:
        await sentinel.start()
    yield sentinels
    for sentinel in sentinels:
        sentinel.stop()
