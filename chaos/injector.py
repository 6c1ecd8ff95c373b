"""Carries out a plan's faults, each at its time, and heals all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from chaos import faults
from chaos.faults import Fault
from chaos.history import Incident
from chaos.installation import Installation
from chaos.processes import NotReady, Process
from chaos.relay import Relay


class Injector:
    """What was injected, and what went wrong that was not."""

    def __init__(self, installation: Installation) -> None:
        self.incidents: list[Incident] = []
        #: What no operator should ever see, as sentences.
        self.oddities: list[str] = []
        self._installation = installation

    async def run(self, schedule: tuple[Fault, ...]) -> None:
        """Inject every fault at its time, and return when the last one is over and all is healed."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as group:
                for fault in schedule:
                    group.create_task(self._at(began + fault.at, fault))
        finally:
            await self._heal()

    async def _at(self, when: float, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))
        began = _now_ms()
        try:
            await self._inject(fault)
        finally:
            self.incidents.append(Incident(fault.kind, str(fault.target), began, _now_ms()))

    async def _inject(self, fault: Fault) -> None:
        if fault.kind in faults.LINK_FAULTS:
            await self._disturb(fault)
        elif fault.kind.startswith("redis-"):
            await self._break_redis(fault)
        else:
            await self._break_process(fault)

    async def _disturb(self, fault: Fault) -> None:
        link = next(name for name in faults.LINKS if fault.kind.startswith(f"{name}-"))
        relay = self._installation.relays[link]
        _set_mode(relay, fault.kind.removeprefix(f"{link}-"), fault.amount)
        await asyncio.sleep(fault.seconds)
        relay.heal()

    async def _break_process(self, fault: Fault) -> None:
        installation = self._installation
        group = installation.workers if fault.kind.startswith("worker-") else installation.apis
        process = group[fault.target]
        if not process.is_running:
            self._died(process)
            process.start()
            return
        if fault.kind in (faults.WORKER_FREEZE, faults.API_FREEZE):
            process.freeze()
            await asyncio.sleep(fault.seconds)
            process.thaw()
            return
        if fault.kind in (faults.WORKER_KILL, faults.API_KILL):
            process.kill()
        else:
            process.terminate()
            if not await process.ended():
                self.oddities.append(f"{process.name} did not stop when it was told to")
        await asyncio.sleep(fault.seconds)
        process.start()

    async def _break_redis(self, fault: Fault) -> None:
        redis = self._installation.redis
        if fault.kind == faults.REDIS_FREEZE:
            os.kill(redis.pid, signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            os.kill(redis.pid, signal.SIGCONT)
            return
        if fault.kind == faults.REDIS_KILL:
            redis.kill()
        else:
            await asyncio.to_thread(redis.stop)
        await asyncio.sleep(fault.seconds)
        await self._installation.start_redis()

    async def _heal(self) -> None:
        installation = self._installation
        for relay in installation.relays.values():
            relay.heal()
        if not installation.redis.running:
            await installation.start_redis()
        for process in (*installation.workers, *installation.apis):
            process.thaw()
            if not process.is_running:
                self._died(process)
                process.start()
        try:
            await installation.all_ready()
        except NotReady as late:
            self.oddities.append(str(late))

    def _died(self, process: Process) -> None:
        last = process.said()[-300:]
        self.oddities.append(f"{process.name} ended by itself with {process.exit_code}, saying: {last}")


def _set_mode(relay: Relay, mode: str, amount: float) -> None:
    match mode:
        case faults.CUT:
            relay.cut()
        case faults.LOST_REPLIES:
            relay.lose_replies(int(amount))
        case faults.STALL:
            relay.stall()
        case faults.DELAY:
            relay.delay(amount)
        case faults.SQUEEZE:
            relay.squeeze(amount)


def _now_ms() -> int:
    """Redis, on the same machine, has the same clock."""
    return time.time_ns() // 1_000_000
