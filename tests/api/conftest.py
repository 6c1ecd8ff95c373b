"""What these tests work with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from control_plane import logs, queue, redis, settings
from events_endpoint import ask, context
from filled_tail import follow, new
from following import tails_at

from tokentail.api.tails import Tails

__all__ = ["ask", "context", "follow", "logs", "new", "queue", "redis", "settings"]


@pytest.fixture
async def tails(redis_url: str) -> AsyncIterator[Tails]:
    """Those of a process whose reader is at work."""
    async with tails_at(redis_url) as made:
        yield made
