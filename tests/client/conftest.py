"""The scripted server, and both clients behind one face so that each promise is tested on each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from client_commands import Run, answer_in_full, run_to_end
from scripted_server import ScriptedServer

from tokentail import AsyncClient, Client
from tokentail.client import Entry, Retries

#: As patient as the real one, only faster.
QUICK = Retries(calls=4, connections=6, first_seconds=0.001, longest_seconds=0.01, silence_seconds=0.3)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as started:
        yield started


@dataclass
class Threaded:
    """`Client`, with what it iterates over collected."""

    url: str
    key: str | None = None

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        with Client(self.url, self.key, timeout=5, retries=QUICK) as client:
            return getattr(client, method)(*args, **kwargs)

    def stream(self, *args: Any, into: list[str] | None = None, **kwargs: Any) -> list[str]:
        texts = [] if into is None else into
        with Client(self.url, retries=QUICK) as client:
            for text in client.stream(*args, **kwargs):
                texts.append(text)
        return texts

    def follow(self, job_id: str, after: str | None = None) -> Followed:
        with Client(self.url, retries=QUICK) as client, client.follow(job_id, after) as generation:
            items = list(generation)
            return Followed(items, generation)

    def followed_result(self, job_id: str, after: str | None = None) -> Any:
        with Client(self.url, retries=QUICK) as client:
            return client.follow(job_id, after).result()

    def events(self, job_id: str, after: str | None = None) -> list[Entry]:
        with Client(self.url, retries=QUICK) as client:
            return list(client.events(job_id, after))


@dataclass
class Asynchronous:
    """`AsyncClient` behind the same face."""

    url: str
    key: str | None = None

    def _with_client(self, work: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with AsyncClient(self.url, self.key, timeout=5, retries=QUICK) as client:
                return await work(client)

        return asyncio.run(run())

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._with_client(lambda client: getattr(client, method)(*args, **kwargs))

    def stream(self, *args: Any, into: list[str] | None = None, **kwargs: Any) -> list[str]:
        texts = [] if into is None else into

        async def work(client: AsyncClient) -> list[str]:
            async for text in client.stream(*args, **kwargs):
                texts.append(text)
            return texts

        return self._with_client(work)

    def follow(self, job_id: str, after: str | None = None) -> Followed:
        async def work(client: AsyncClient) -> Followed:
            async with client.follow(job_id, after) as generation:
                return Followed([item async for item in generation], generation)

        return self._with_client(work)

    def followed_result(self, job_id: str, after: str | None = None) -> Any:
        return self._with_client(lambda client: client.follow(job_id, after).result())

    def events(self, job_id: str, after: str | None = None) -> list[Entry]:
        async def work(client: AsyncClient) -> list[Entry]:
            return [entry async for entry in client.events(job_id, after)]

        return self._with_client(work)


@dataclass
class Followed:
    """What following a job to its ending gave."""

    items: list[Any]
    generation: Any


@pytest.fixture(params=[Threaded, Asynchronous], ids=["Client", "AsyncClient"])
def client(request: pytest.FixtureRequest, server: ScriptedServer) -> Any:
    return request.param(server.url)


@pytest.fixture
def run(server: ScriptedServer) -> Run:
    """Run a command to its end; the server has one job, which answers in full."""
    answer_in_full(server)
    return partial(run_to_end, server)
