"""A control plane and logs on the shared real server: fixtures for the folders that want them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tokentail.shared import redis as store
from tokentail.shared.log import Logs
from tokentail.shared.one_server import OneServer
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

__all__ = ["logs", "queue", "redis", "settings"]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the shared server, which is empty."""
    async with store.client(redis_url) as client:
        yield client


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url)


@pytest.fixture
def queue(redis: Redis, settings: Settings) -> Queue:
    return Queue(redis, settings)


@pytest.fixture
async def logs(redis_url: str) -> AsyncIterator[Logs]:
    async with OneServer(redis_url) as plane:
        yield Logs(plane)
