"""A model that says what the test tells it to: the collaborator of attempts, never what is tested."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from given import completed, delta

from tokentail.shared.events import Usage
from tokentail.worker.model import Finish

USAGE: Usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "source": "provider"}
FINISH = Finish("stop", USAGE, 0.25)


class ScriptedGeneration:
    """Yields a script's deltas; raises its errors; an `asyncio.Event` in it is waited for."""

    def __init__(self, script: list[Any]) -> None:
        self.closed = False
        self._items = self._run(script)

    async def _run(self, script: list[Any]) -> AsyncGenerator[Any]:
        try:
            for step in script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield delta(step) if isinstance(step, str) else step
        finally:
            self.closed = True

    def __aiter__(self) -> AsyncGenerator[Any]:
        return self._items

    async def aclose(self) -> None:
        await self._items.aclose()
        self.closed = True

    def usage_so_far(self) -> Usage:
        return USAGE


class ScriptedModels:
    """One script per call, the last one for all further calls."""

    def __init__(self, *scripts: list[Any], has_other: bool = False) -> None:
        self._scripts = list(scripts)
        self._has_other = has_other
        self.calls: list[dict[str, Any]] = []
        self.generations: list[ScriptedGeneration] = []

    def chat(self, call: Any, *, job_id: str, attempt: int) -> ScriptedGeneration:
        self.calls.append({"call": call, "job_id": job_id, "attempt": attempt})
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        self.generations.append(ScriptedGeneration(script))
        return self.generations[-1]

    def has_other(self, alias: str) -> bool:
        return self._has_other


def types(log: list[tuple[str, Any]]) -> list[str]:
    """A log in short: each event's type, or what a delta says."""
    return [event.get("content", event["type"]) for _, event in log]


__all__ = ["FINISH", "USAGE", "ScriptedGeneration", "ScriptedModels", "completed", "types"]
