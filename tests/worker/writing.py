"""An appender at work on some Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from given import at_work, attempt, delta, whole_log
from redis.asyncio import Redis

from tokentail.shared import redis as store
from tokentail.shared.job import new_id
from tokentail.shared.log import Logs
from tokentail.shared.planes import data_plane
from tokentail.worker.appender import Appender
from tokentail.worker.writer import Writer

FENCE = 1_763_881_234_567


@dataclass
class Desk:
    """An appender that runs, the logs it writes and a client to look at them."""

    appender: Appender
    logs: Logs
    redis: Redis

    async def begin(self, job_id: str | None = None, fence: int = FENCE, ttl_seconds: float = 100) -> Writer:
        opened = await self.appender.open(job_id or new_id(), fence, attempt(), ttl_seconds=ttl_seconds)
        assert isinstance(opened, Writer)
        return opened

    async def log(self, writer: Writer) -> list[tuple[str, object]]:
        return await whole_log(self.redis, writer.job_id)


@asynccontextmanager
async def desk(url: str, look_url: str | None = None, **options: float) -> AsyncIterator[Desk]:
    async with data_plane(url) as plane, store.client(look_url or url) as look:
        logs = Logs(plane)
        appender = Appender(plane, logs, **options)
        async with at_work(appender.run()):
            yield Desk(appender, logs, look)


def say(writer: Writer, words: Iterable[object]) -> None:
    for word in words:
        writer.append(delta(str(word)))


def expected(writer_fence: int, words: Iterable[object], *more: object) -> list[tuple[str, object]]:
    """The log of one attempt that said these words."""
    log = [attempt(), *(delta(str(word)) for word in words), *more]
    return [(f"{writer_fence}-{seq}", event) for seq, event in enumerate(log)]
