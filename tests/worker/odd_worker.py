"""A real worker process whose model does to it what its request says: `odd_worker.py [stall seconds]`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import structlog
from given import delta, eventually
from keeping import be_busy
from scripted import FINISH, USAGE

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.events import Usage
from tokentail.shared.settings import Settings
from tokentail.worker import main, stall


class OddGeneration:
    """Says "Hi", does it when that is stored, says "Bye". Tells when it is closed, whatever it was doing, by
    the clock that all of a host share."""

    def __init__(self, order: str, log: Log) -> None:
        self._log = log
        self._items = self._run(*order.split())

    async def _run(self, deed: str, seconds: str = "0") -> AsyncGenerator[Any]:
        try:
            before = await self._log.length()
            yield delta("Hi")
            await self._log.until_longer_than(before)
            if deed == "busy":
                be_busy(float(seconds))
            elif deed == "hang":
                time.sleep(3600)  # noqa: ASYNC251
            elif deed == "shout":
                while True:
                    structlog.get_logger().warning("x" * 10_000)
            elif deed == "wait":
                await asyncio.Event().wait()
            yield delta("Bye")
            yield FINISH
        finally:
            print(f"closed at {time.monotonic()}", flush=True)

    def __aiter__(self) -> AsyncGenerator[Any]:
        return self._items

    async def aclose(self) -> None:
        await self._items.aclose()

    def usage_so_far(self) -> Usage:
        return USAGE


class Log:
    """A job's log, as others see it."""

    def __init__(self, job_id: str) -> None:
        self._key = keys.log(job_id)

    async def length(self) -> int:
        async with store.client(Settings.load().redis_url) as redis:
            return int(await redis.xlen(self._key))

    async def until_longer_than(self, length: int) -> None:
        async def is_longer() -> bool:
            return await self.length() > length

        await eventually(is_longer)


class OddModels:
    def __init__(self, *_: object) -> None:
        pass

    async def warm_up(self) -> None:
        pass

    def chat(self, call: Any, *, job_id: str, attempt: int) -> OddGeneration:
        return OddGeneration(call["messages"][0]["content"], Log(job_id))

    def has_other(self, alias: str) -> bool:
        return False

    async def aclose(self) -> None:
        pass


if __name__ == "__main__":
    if len(sys.argv) > 1:
        stall.STALL_SECONDS = float(sys.argv[1])
    main.Models = OddModels  # type: ignore[misc, assignment]
    sys.exit(main.run(Settings.load()) or os.EX_OK)
