"""What these tests work with."""

from __future__ import annotations

import pytest
from control_plane import logs, queue, redis, settings

from tokentail.shared import queue as queue_module

__all__ = ["logs", "queue", "redis", "settings"]


@pytest.fixture(autouse=True)
def _verdict_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is found out may be claimed at once."""
    monkeypatch.setattr(queue_module, "VERDICT_SECONDS", 0.0)
