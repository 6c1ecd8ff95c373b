"""Which lines of a child's log an operator should see at once, and how they read on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

_ALARMING = {"warning", "error", "critical"}
_PLAIN = re.compile(r"(WARNING|ERROR|CRITICAL)\b")
#: What a terminal's reader does not need: the supervisor's line says who, and it is now.
_OMITTED = {"level", "event", "timestamp", "exception"}


def alarm_in(line: str) -> str | None:
    """The line as a person reads it, if it tells of something wrong; None for all others."""
    if _PLAIN.match(line):
        return line
    entry = _entry(line)
    if entry.get("level") not in _ALARMING:
        return None
    details = (f"{name}={value}" for name, value in entry.items() if name not in _OMITTED)
    return " ".join([f"{entry['level']}: {entry.get('event', '')}", *details])


def _entry(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
