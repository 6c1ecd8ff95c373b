"""The processes that share one port: started, started again, and stopped together."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog

from tokentail.shared import tasks

#: What makes us stop; the second time at once.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Our own word for "at once". SIGTERM may come to a process twice for one that was sent.
HURRY_SIGNAL = signal.SIGUSR1

#: A process that ends sooner than this has failed to start.
STEADY_SECONDS = 5.0
#: Failed starts of one process in a row after which trying again is noise.
MOST_FAILURES = 5
#: Before it is started again; doubled with each failure.
PAUSE_SECONDS = 0.1
#: What a process may take beyond its window; then it hangs, and is killed.
STOP_MARGIN_SECONDS = 10.0

logger = structlog.get_logger()

# A fork would take over what this process has opened, and whatever locks other threads hold.
_spawn = multiprocessing.get_context("spawn")


class Crew:
    """A process for each of `args`, which calls `serve` with them and exits with the answer. `run` it once.

    They share nothing, and don't outlive this process (see `EdgeServer`).
    """

    def __init__(
        self, serve: Callable[..., int], args: Sequence[tuple[Any, ...]], drain_seconds: float
    ) -> None:
        self._serve = serve
        self._args = args
        self._drain_seconds = drain_seconds
        self._processes: set[SpawnProcess] = set()
        self._stopping = asyncio.Event()
        self._signals = 0
        self._code = 0

    def run(self, greeting: str) -> int:
        """Serve until a signal; returns the exit code: 0 if all went in order. Prints `greeting` once a
        signal would be heard."""
        return asyncio.run(self._run(greeting))

    async def _run(self, greeting: str) -> int:
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        print(greeting, flush=True)
        await asyncio.gather(*(self._keep(args) for args in self._args))
        return self._code

    async def _keep(self, args: tuple[Any, ...]) -> None:
        """One of the processes, and its successors."""
        loop, failures = asyncio.get_running_loop(), 0
        while not self._stopping.is_set():
            began = loop.time()
            end = await self._one(args)
            if self._stopping.is_set():
                return
            failures = failures + 1 if loop.time() - began < STEADY_SECONDS else 1
            if failures >= MOST_FAILURES:
                logger.critical("a process can't be started", **end)
                self._code = 1
                self._stop(signal.SIGTERM)
                return
            logger.error("a process ended, starting another", **end)
            await tasks.happens(self._stopping, PAUSE_SECONDS * 2 ** (failures - 1))

    async def _one(self, args: tuple[Any, ...]) -> dict[str, Any]:
        """One of them, from its start to its end; returns what there is to say of that."""
        try:
            process = self._start(args)
        except OSError as error:
            # The system has no room for one. Raised, it would end us, who would then wait for the others.
            return {"error": str(error)}
        self._processes.add(process)
        await _end_of(process)
        self._processes.discard(process)
        return {"pid": process.pid, "exitcode": process.exitcode}

    def _start(self, args: tuple[Any, ...]) -> SpawnProcess:
        process = _spawn.Process(target=_call, args=(self._serve, args))
        # Its start unblocks signals that were blocked before.
        resource_tracker.ensure_running()
        # They wait until it can handle them; a terminal's Ctrl-C, which is for us to pass on, for ever.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return process

    def _on_signal(self) -> None:
        self._signals += 1
        self._stop(signal.SIGTERM if self._signals == 1 else HURRY_SIGNAL)

    def _stop(self, number: signal.Signals) -> None:
        self._stopping.set()
        self._send(number)
        seconds = self._drain_seconds if number == signal.SIGTERM else 0.0
        asyncio.get_running_loop().call_later(seconds + STOP_MARGIN_SECONDS, self._kill)

    def _kill(self) -> None:
        for process in self._processes:
            logger.error("a process did not end and is killed", pid=process.pid)
            self._code = 1
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            # Asking whether it has ended is what frees its number; until then it is nobody else's.
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, number)


def _call(serve: Callable[..., int], args: tuple[Any, ...]) -> None:
    sys.exit(serve(*args))


async def _end_of(process: SpawnProcess) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()
