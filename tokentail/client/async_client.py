"""The client for asyncio: the driver that carries out steps, and the methods over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Self, TypeVar

import httpx

from tokentail.client import calls
from tokentail.client.calls import Messages
from tokentail.client.connection import Connection, connection, reply_from
from tokentail.client.follow import follow
from tokentail.client.generation import AsyncGeneration, OnRestart
from tokentail.client.job import Job, JobPage, Result
from tokentail.client.position import After, cursor_from
from tokentail.client.retries import Retries
from tokentail.client.steps import Entry, Open, Read, Reply, Request, Send, Sleep, Step, Steps, Task

T = TypeVar("T")


class AsyncClient:
    """A tokentail server, for code that runs in asyncio. `Client` is its twin for threads, and says for
    each method what can be relied on and what it raises.

        async with AsyncClient() as client:
            async for text in client.stream("demo", "Tell me a story."):
                print(text, end="", flush=True)

    Every method may be cancelled at any time: that ends the waiting, never the job.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: Retries | None = None,
    ) -> None:
        self._retries = retries or Retries()
        self._connection = connection(url, key, timeout, self._retries.silence_seconds)
        self._http = httpx.AsyncClient(**self._connection.options())

    # Jobs

    async def submit(
        self,
        model: str,
        messages: Messages,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_interruption: str | None = None,
        **parameters: Any,
    ) -> Job:
        """Submit a job and return it at once. See `Client.submit`.

        When this is cancelled, the job may or may not have been stored; with an `idempotency_key` of
        your own you can find out by submitting again.
        """
        return await self._run(
            calls.submit(
                model,
                messages,
                idempotency_key=idempotency_key,
                metadata=metadata,
                on_interruption=on_interruption,
                parameters=parameters,
                retries=self._retries,
            )
        )

    async def get(self, job_id: str, *, wait: int | None = None) -> Job:
        """The job as it is now, or after waiting for its ending. See `Client.get`."""
        return await self._run(calls.get(job_id, wait=wait, retries=self._retries))

    async def list(
        self, *, status: str | None = None, limit: int | None = None, after: str | None = None
    ) -> JobPage:
        """Some jobs, newest first. See `Client.list`."""
        return await self._run(
            calls.list_jobs(status=status, limit=limit, after=after, retries=self._retries)
        )

    async def cancel(self, job_id: str) -> Job:
        """Ask for a job to be cancelled. See `Client.cancel`."""
        return await self._run(calls.cancel(job_id, retries=self._retries))

    async def delete(self, job_id: str) -> None:
        """Delete a job with all that is stored of it. See `Client.delete`."""
        await self._run(calls.delete(job_id, retries=self._retries))

    # Answers

    async def stream(
        self, model: str, messages: Messages, *, on_restart: OnRestart | None = None, **options: Any
    ) -> AsyncGenerator[str]:
        """Submit a job and iterate over the pieces of its text as they come. See `Client.stream`.

        `on_restart` is called like any function, not awaited.
        """
        job = await self.submit(model, messages, **options)
        async with self.follow(job.id) as generation:
            async for text in generation.texts(on_restart):
                yield text

    async def run(self, model: str, messages: Messages, **options: Any) -> Result:
        """Submit a job and wait for its result. See `Client.run`."""
        return await self.result((await self.submit(model, messages, **options)).id)

    async def result(self, job_id: str) -> Result:
        """Wait for a job's ending and return what the model said. See `Client.result`."""
        return await self._run(calls.result(job_id, retries=self._retries))

    def follow(self, job_id: str, after: After = None) -> AsyncGeneration:
        """Follow a job from its beginning, or from a cursor. See `Client.follow`."""
        return AsyncGeneration(
            job_id,
            cursor_from(after),
            lambda cursor: self.events(job_id, cursor),
            lambda: self.result(job_id),
        )

    def events(self, job_id: str, after: After = None) -> AsyncGenerator[Entry]:
        """Iterate over every entry of a job's log. See `Client.events`."""
        return self._entries(follow(job_id, cursor_from(after), self._retries))

    # The driver

    async def _run(self, steps: Steps[T]) -> T:
        task = Task(steps)
        async with _Wire(self._http, self._connection) as wire:
            while not task.done:
                await wire.carry_out(task)
        return task.value

    async def _entries(self, steps: Steps[None]) -> AsyncGenerator[Entry]:
        task = Task(steps)
        async with _Wire(self._http, self._connection) as wire:
            while not task.done:
                if isinstance(task.step, Entry):
                    yield task.step
                    task.answer(None)
                else:
                    await wire.carry_out(task)

    async def aclose(self) -> None:
        """Close all connections. Jobs are not touched. Closing twice is harmless."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Wire:
    """Carries out the steps of one task, and holds the one answer that may be open meanwhile."""

    def __init__(self, http: httpx.AsyncClient, connection: Connection) -> None:
        self._http = http
        self._connection = connection
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def carry_out(self, task: Task[T]) -> None:
        """Do the task's step and tell it how that went."""
        try:
            answer = await self._do(task.step)
        except httpx.RequestError as error:
            task.fail(self._connection.meaning_of(error))
        else:
            task.answer(answer)

    async def _do(self, step: Step) -> Reply | bytes | None:
        if isinstance(step, Read):
            return b"" if self._chunks is None else await anext(self._chunks, b"")
        await self._close()
        match step:
            case Send():
                return await self._send(step.request)
            case Open():
                return await self._open(step.request)
            case Sleep():
                await asyncio.sleep(step.seconds)
        return None

    async def _send(self, request: Request) -> Reply:
        response = await self._http.send(self._http.build_request(**self._connection.arguments(request)))
        return reply_from(response, response.content)

    async def _open(self, request: Request) -> Reply:
        arguments = self._connection.arguments(request, stream=True)
        response = await self._http.send(self._http.build_request(**arguments), stream=True)
        self._response = response
        if response.status_code != 200:
            return reply_from(response, await response.aread())
        self._chunks = response.aiter_bytes()
        return reply_from(response)

    async def _close(self) -> None:
        response, self._response, self._chunks = self._response, None, None
        if response is not None:
            await response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()
