"""What these tests work with."""

from __future__ import annotations

from control_plane import logs, queue, redis, settings

__all__ = ["logs", "queue", "redis", "settings"]
