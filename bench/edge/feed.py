"""The producer's handle."""

from __future__ import annotations

from typing import Any

import orjson

from bench.processes import Process


class Feed:
    """A process, ready to write events at a pace: the producer, or what stands in its place for a peer."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def open(self, jobs: int) -> list[str]:
        """Begin this many; their ids."""
        return list(self._tell("open", jobs=jobs))

    def run(self, rate: float, seconds: float) -> int:
        """Write that many events a second to each; returns how many each has got when all is written."""
        return int(self._tell("run", rate=rate, seconds=seconds))

    def end(self) -> None:
        """Complete them."""
        self._tell("end")

    def _tell(self, deed: str, **how: Any) -> Any:
        self.process.tell(orjson.dumps({"do": deed, **how}).decode())
        return orjson.loads(self.process.wait_for(r"^did (.*)")[1])
