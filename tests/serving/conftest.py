"""API processes for tests that stop, kill, crowd and starve them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from api_process import Api
from streams import Stream


@pytest.fixture
def start_api(redis_url: str) -> Iterator[Callable[..., Api]]:
    """Starts API processes; options as words, settings by their variable."""
    started: list[Api] = []

    def start(*options: str, **settings: str) -> Api:
        started.append(Api(redis_url, *options, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for api in started:
        api.close()


@pytest.fixture(autouse=True)
async def _no_stream_is_left() -> AsyncIterator[None]:
    yield
    for stream in Stream.opened:
        await stream.closed()
    Stream.opened.clear()
