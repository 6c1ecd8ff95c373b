"""The demo provider seen from outside: as a process to start, and as a server to talk to."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

ENTRY = "import sys; from tokentail.demo.provider import run; sys.exit(run(sys.argv[1], int(sys.argv[2])))"


def start(host: str = "127.0.0.1", port: int = 0) -> subprocess.Popen[str]:
    """Run a provider; its first line on stdout says where it is."""
    command = [sys.executable, "-c", ENTRY, host, str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End it and return what else it printed."""
    process.terminate()
    return process.communicate(timeout=10)


@dataclass
class Provider:
    """A running provider, seen from a client."""

    url: str
    http: httpx.AsyncClient

    def ask(self, model: str, **body: Any) -> dict[str, Any]:
        """The body of a chat request that streams."""
        message = {"role": "user", "content": "Why is the sky blue?"}
        return {"model": model, "messages": [message], "stream": True} | body

    async def post(self, model: str, **body: Any) -> httpx.Response:
        return await self.http.post("/v1/chat/completions", json=self.ask(model, **body))

    async def whole(self, model: str, **body: Any) -> dict[str, Any]:
        """The answer to a request that does not stream."""
        response = await self.post(model, **{"stream": False} | body)
        assert response.status_code == 200, response.text
        return response.json()

    async def chunks(self, model: str, **body: Any) -> list[dict[str, Any]]:
        """All chunks of an answer that is expected to end with [DONE]."""
        response = await self.post(model, **body)
        assert response.status_code == 200, response.text
        *lines, last = data_lines(response.text)
        assert last == "[DONE]"
        return [orjson.loads(line) for line in lines]

    def streaming(self, model: str, **body: Any) -> Any:
        """The answer as an open stream, for `async with`."""
        return self.http.stream("POST", "/v1/chat/completions", json=self.ask(model, **body))

    async def stats(self) -> dict[str, Any]:
        return (await self.http.get("/stats")).json()

    async def stats_when(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The stats as soon as they are as wanted; fails after two seconds."""
        async with asyncio.timeout(2):
            while True:
                stats = await self.stats()
                if wanted(stats):
                    return stats
                await asyncio.sleep(0.005)


def data_lines(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the model said, without the opening and the chunks that say nothing."""
    told = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return [delta for delta in told if delta and "role" not in delta]


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(delta.get("content", "") for delta in deltas(chunks))


def reasons(chunks: list[dict[str, Any]]) -> list[str]:
    """The finish reasons in an answer; there should be one."""
    told = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]]
    return [reason for reason in told if reason is not None]
