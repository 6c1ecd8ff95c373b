"""Where and with what it was measured: a figure without that can't be compared with another."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tokentail.stack.redis_binary import find_redis

_PACKAGES = ("litellm", "openai", "uvloop", "uvicorn", "fastapi", "redis", "hiredis", "arq")


def machine() -> dict[str, str]:
    """Facts in the order in which a reader wants them."""
    # Whatever else runs takes its share from all of it, more from what needs several processes at once.
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    system = f"{platform.system()} {platform.machine()}"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {system}, {load}",
        "Python": sys.version.split()[0],
        "Redis": f"{find_redis().version_text}, append-only file, TCP on loopback",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "unknown")
