"""Runs a Redis and the processes around it in order: up from the bottom, down from the top."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NoReturn

from tokentail.shared.errors import TokentailError
from tokentail.stack.child import Child
from tokentail.stack.console import Console
from tokentail.stack.redis_server import RedisServer

#: How long all of them may take to be ready. A worker imports litellm, which takes seconds.
READY_SECONDS = 120.0
#: What an API or worker may take beyond the drain time: closing connections, handing jobs back.
STOP_MARGIN_SECONDS = 5.0
#: The demo provider has nothing to save.
PROVIDER_STOP_SECONDS = 2.0
#: Redis is not asyncio's child; asking for its end this often costs nothing.
REDIS_CHECK_SECONDS = 0.2


class Supervisor:
    """The processes of one stack. `serving` are API and workers; the provider, if any, is up before them."""

    def __init__(
        self,
        redis: RedisServer,
        provider: Child | None,
        serving: Callable[[str | None], Sequence[Child]],
        *,
        drain_seconds: float,
        on_ready: Callable[[], Awaitable[None]],
        console: Console,
    ) -> None:
        self._redis = redis
        self._provider = provider
        self._make_serving = serving
        self._serving: Sequence[Child] = ()
        self._drain_seconds = drain_seconds
        self._on_ready = on_ready
        self._console = console
        self._signals = 0
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP, then end everything; a second signal skips the waiting.

        Raises TokentailError, everything ended, if a process can't be started or keeps dying.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup a hang-up stays ignored. SIGINT is ignored in a script's background job; we take it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal)
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if self._stop.is_set():
                self._console.stopping(self._drain_seconds)
            failure = await _cancelled(serving)
            await self._end()
        if failure is not None:
            raise failure

    def _on_signal(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals > 1:
            self._kill_children()

    async def _serve(self) -> NoReturn:
        self._redis.spawn()
        async with asyncio.TaskGroup() as keepers:
            demo_url = None
            if self._provider is not None:
                keepers.create_task(self._provider.keep())
            await asyncio.to_thread(self._redis.wait_ready)
            keepers.create_task(self._keep_redis())
            async with _within(READY_SECONDS):
                if self._provider is not None:
                    demo_url = await self._provider.ready()
                self._serving = self._make_serving(demo_url)
                for child in self._serving:
                    keepers.create_task(child.keep())
                for child in self._serving:
                    await child.ready()
                await self._on_ready()
        raise AssertionError("keepers never end")

    async def _keep_redis(self) -> NoReturn:
        while True:
            await asyncio.sleep(REDIS_CHECK_SECONDS)
            if not self._redis.running:
                self._console.alarm("redis", "ended, starting it again")
                self._redis.spawn()
                await asyncio.to_thread(self._redis.wait_ready)

    async def _end(self) -> None:
        patience = self._drain_seconds + STOP_MARGIN_SECONDS
        await asyncio.gather(*(child.stop(patience) for child in self._serving))
        if self._provider is not None:
            await self._provider.stop(PROVIDER_STOP_SECONDS)
        # Last, because all the others write to it until their end.
        await asyncio.to_thread(self._redis.stop)

    def _kill_children(self) -> None:
        for child in [*self._serving, *([self._provider] if self._provider else [])]:
            child.kill()


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TokentailError(f"The stack was not ready within {seconds:.0f} s.") from None


async def _cancelled(task: asyncio.Task[NoReturn]) -> BaseException | None:
    """End a task; the answer is why it had ended by itself, if it had."""
    task.cancel()
    await asyncio.wait({task})
    if task.cancelled():
        return None
    failure = task.exception()
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
