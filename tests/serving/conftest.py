"""API processes for tests that stop, kill, crowd and starve them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from streams import Edge, Stream


@pytest.fixture
def edge(redis_url: str) -> Iterator[Callable[..., Edge]]:
    """Starts API processes; options as words, settings by their variable."""
    started: list[Edge] = []

    def start(*options: str, **settings: str) -> Edge:
        started.append(Edge(redis_url, *options, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.running.close()


@pytest.fixture(autouse=True)
async def _no_stream_is_left() -> AsyncIterator[None]:
    yield
    for stream in Stream.opened:
        await stream.closed()
    Stream.opened.clear()
