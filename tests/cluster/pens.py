"""An appender at work on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from given import PATIENCE_SECONDS, attempt, completed, delta
from node import Node
from nodes import Nodes, in_partition

from tokentail.shared import tasks
from tokentail.shared.cluster import Cluster
from tokentail.shared.job import new_id
from tokentail.shared.log import Entry, Logs
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
        opening = self.appender.open(job_id, fence, attempt(), ttl_seconds=1000)
        opened = await _in_time(opening, f"{job_id} was opened")
        assert isinstance(opened, Writer)
        return opened

    async def begin_beside(self, writer: Writer, count: int) -> list[Writer]:
        """Attempts whose logs share that one's slot."""
        ids = in_partition(int(writer.key[4:6]))
        return [await self.begin(next(ids)) for _ in range(count)]

    async def stored(self, *writers: Writer) -> None:
        """Wait until all that these attempts have said is in their logs."""
        for writer in writers:
            await _in_time(writer.flushed(), f"what {writer.job_id} said was stored")

    async def end(self, writer: Writer) -> Entry:
        """Let an attempt complete; its log's ending."""
        ending = self.appender.end(writer, completed(), ttl_seconds=100)
        return await _in_time(ending, f"{writer.job_id} ended")

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


async def _in_time(doing: Coroutine[Any, Any, Any], what: str) -> Any:
    """The result. A log that its appender never finds is waited for without end: for an attempt that is
    right, for a test it is not."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await doing
    except TimeoutError:
        raise AssertionError(f"it never came to it that {what}") from None


def say(writer: Writer, words: Iterable[object]) -> None:
    for word in words:
        writer.append(delta(str(word)))


def expected(words: Iterable[object], *more: Any, fence: int = FENCE) -> list[tuple[str, Any]]:
    """The log of one attempt that said these words."""
    log = [attempt(), *(delta(str(word)) for word in words), *more]
    return [(f"{fence}-{seq}", event) for seq, event in enumerate(log)]
