"""An appender at work on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from given import attempt, delta
from nodes import Node, Nodes

from tokentail.shared import tasks
from tokentail.shared.cluster import Cluster
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs
from tokentail.worker.appender import Appender
from tokentail.worker.writer import Writer

FENCE = 1_763_881_234_567


@dataclass
class Desk:
    """An appender that runs, the logs it writes, and the nodes as they really are."""

    appender: Appender
    logs: Logs
    nodes: Nodes

    async def begin(self, job_id: str | None = None, *, at: Node | None = None, fence: int = FENCE) -> Writer:
        """An attempt, with its log on a certain node if need be."""
        job_id = job_id or (self.nodes.job_at(at) if at else new_id())
        opened = await self.appender.open(job_id, fence, attempt(), ttl_seconds=1000)
        assert isinstance(opened, Writer)
        return opened

    def log(self, writer: Writer) -> list[tuple[str, Any]]:
        return [(key.decode(), orjson.loads(fields[b"e"])) for key, fields in self.nodes.entries(writer.key)]


@asynccontextmanager
async def desk_at(nodes: Nodes) -> AsyncIterator[Desk]:
    async with Cluster(nodes.url) as plane:
        logs = Logs(plane)
        appender = Appender(plane, logs)
        running = asyncio.create_task(appender.run())
        try:
            yield Desk(appender, logs, nodes)
        finally:
            await tasks.end(running)
            if not running.cancelled():
                running.result()


def say(writer: Writer, words: Iterable[object]) -> None:
    for word in words:
        writer.append(delta(str(word)))


def expected(words: Iterable[object], *more: Any, fence: int = FENCE) -> list[tuple[str, Any]]:
    """The log of one attempt that said these words."""
    log = [attempt(), *(delta(str(word)) for word in words), *more]
    return [(f"{fence}-{seq}", event) for seq, event in enumerate(log)]
