"""Ask a model as the worker does, and keep all that came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tokentail.shared.events import Delta
from tokentail.shared.fold import Fold, Result
from tokentail.shared.models import ModelList
from tokentail.worker.model import Finish, Generation, Models

#: Makes the models that answer as a scenario of the demo provider.
Serve = Callable[..., Models]

#: What the provider asks for, and what no client may ever read.
SECRET = "the-demo-key-of-this-test"


@dataclass
class Answer:
    """Everything that one generation gave."""

    generation: Generation
    deltas: list[Delta] = field(default_factory=list)
    finish: Finish | None = None

    @property
    def result(self) -> Result:
        fold = Fold()
        for delta in self.deltas:
            fold.add(delta)
        return fold.result()


@dataclass
class Provider:
    """The demo provider, seen from a worker."""

    url: str
    http: httpx.AsyncClient

    async def stats(self) -> dict[str, Any]:
        return (await self.http.get("/stats")).json()

    async def last_request(self) -> dict[str, Any]:
        return (await self.stats())["requests"][-1]

    async def until(self, holds: Callable[[dict[str, Any]], bool], seconds: float = 5) -> dict[str, Any]:
        """Wait until the provider sees what is expected; fail when it does not come to that."""
        async with asyncio.timeout(seconds):
            while not holds(stats := await self.stats()):  # noqa: ASYNC110  (another process's state)
                await asyncio.sleep(0.005)
        return stats

    async def until_idle(self) -> dict[str, Any]:
        """Wait until no answer is being streamed any more."""
        return await self.until(lambda stats: stats["open_streams"] == 0)


def write_list(folder: Path, entries: list[dict[str, Any]]) -> ModelList:
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump({"model_list": entries}))
    return ModelList.load(path)


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}], **more}


async def ask(
    models: Models, model: str = "it", *, attempt: int = 1, job_id: str = "job_1", **more: Any
) -> Answer:
    """The whole answer. Raises what the generation raises."""
    answer = Answer(models.chat(asked(model, **more), job_id=job_id, attempt=attempt))
    await take(answer)
    return answer


async def take(answer: Answer, deltas: int | None = None) -> None:
    """Read an answer to its end, or some deltas of it, and close it."""
    async with aclosing(answer.generation):
        async for item in answer.generation:
            if isinstance(item, Finish):
                assert answer.finish is None, "a second finish"
                answer.finish = item
                continue
            assert answer.finish is None, "a delta after the finish"
            answer.deltas.append(item)
            if len(answer.deltas) == deltas:
                return


def sse(*chunks: Any) -> bytes:
    """Server-sent events with these JSON payloads (or texts, as they are)."""
    texts = (chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks)
    return b"".join(f"data: {text}\n\n".encode() for text in texts)
