"""Which core does what: a server that shares its core with its own load measures the scheduler."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))
SERVER = frozenset(_CORES[:1])
REST = frozenset(_CORES[1:]) or SERVER

NOTE = (
    f"The server under test had core {_CORES[0]} for itself; load, producer and Redis shared "
    f"{len(REST)} other{'s' if len(REST) > 1 else ''}."
    if len(_CORES) > 1
    else "There is only one core: server, load, producer and Redis shared it, so times are not to be trusted."
)


def pin(pid: int, cores: Iterable[int]) -> None:
    """Keep a process, all its threads and those that it will start, on these cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def raise_file_limit() -> None:
    """Thousands of followers are thousands of descriptors, here and in what is started from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
