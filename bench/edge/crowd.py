"""The load's handle: followers that can be told to come, to count and to go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from bench.processes import Process

#: What is not there so long after it was written will not come.
_PATIENCE_SECONDS = 15.0


class Counted(NamedTuple):
    """The least and the most events that a follower has got, and how long a share of the deliveries took."""

    least: int
    most: int
    p50_ms: float
    p99_ms: float


class Crowd:
    """The followers of one load process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        process.wait_for("load ready")

    def open(self, url: str, paths: Sequence[str], *, keeps_cursor: bool = False) -> None:
        """One follower for each path; returns when all streams are open."""
        address = urlsplit(url)
        self._tell("open", host=address.hostname, port=address.port, paths=paths, keeps_cursor=keeps_cursor)
        self.process.wait_for("^opened")

    def begin(self) -> None:
        """Take the times of what comes from here on."""
        self._tell("begin")
        self.process.wait_for("^begun")

    def until(self, count: int) -> Counted:
        """Wait until each has got this many events in all, or until no more can be expected."""
        self._tell("until", count=count, seconds=_PATIENCE_SECONDS)
        return Counted(**orjson.loads(self.process.wait_for(r"^counted (\{.*\})")[1]))

    def come_back(self) -> float:
        """Drop all connections and make them again with cursors; the ms until each has something new."""
        self._tell("return")
        return float(self.process.wait_for(r"^returned (\S+)")[1])

    def close(self) -> None:
        """All leave."""
        self._tell("close")
        self.process.wait_for("^closed")

    def _tell(self, deed: str, **how: Any) -> None:
        self.process.tell(orjson.dumps({"do": deed, **how}).decode())
