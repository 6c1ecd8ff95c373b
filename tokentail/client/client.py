"""The client for threads: the driver that carries out steps, and the methods over it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Self, TypeVar

import httpx

from tokentail.client import calls
from tokentail.client.calls import Messages
from tokentail.client.connection import Connection, connection, reply_from
from tokentail.client.follow import follow
from tokentail.client.generation import Generation, OnRestart
from tokentail.client.job import Job, JobPage, Result
from tokentail.client.position import After, cursor_from
from tokentail.client.retries import Retries
from tokentail.client.steps import Entry, Open, Read, Reply, Request, Send, Sleep, Step, Steps, Task

T = TypeVar("T")


class Client:
    """A tokentail server, for code that runs in threads. `AsyncClient` is its twin for asyncio.

        with Client() as client:
            for text in client.stream("demo", "Tell me a story."):
                print(text, end="", flush=True)

    One client keeps one pool of connections and may be shared by threads. `url` and `key` come from
    `TOKENTAIL_URL` and `TOKENTAIL_KEY` unless given. `timeout` is how many seconds an answer may take
    beyond what the call itself asks to wait; `retries` is how patient the client is.

    Every error is a `TokentailError`; `tokentail.client.errors` tells them apart.
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
        self._http = httpx.Client(**self._connection.options())

    # Jobs

    def submit(
        self,
        model: str,
        messages: Messages,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_interruption: str | None = None,
        **parameters: Any,
    ) -> Job:
        """Submit a job and return it at once; it runs on, whatever becomes of this process.

        `messages` is a list of OpenAI-style messages, or a text, which stands for one user message.
        `parameters` are chat parameters such as `temperature` or `tools`; what is None is left out.
        When the connection is lost or the server is busy, the request is repeated under the same
        idempotency key, so that there is at most one job.

        Raises InvalidRequest, IdempotencyConflict, NotAuthorized, ServerBusy, ServerUnreachable.
        """
        return self._run(
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

    def get(self, job_id: str, *, wait: int | None = None) -> Job:
        """The job as it is now; with `wait` (up to 60), when it has ended or so many seconds are over.

        Raises JobNotFound.
        """
        return self._run(calls.get(job_id, wait=wait, retries=self._retries))

    def list(
        self, *, status: str | None = None, limit: int | None = None, after: str | None = None
    ) -> JobPage:
        """Some jobs, newest first, without results. `after` is the `next` of the page before."""
        return self._run(calls.list_jobs(status=status, limit=limit, after=after, retries=self._retries))

    def cancel(self, job_id: str) -> Job:
        """Ask for a job to be cancelled. It has not necessarily ended when this returns; a job that had
        already ended stays as it was. Raises JobNotFound."""
        return self._run(calls.cancel(job_id, retries=self._retries))

    def delete(self, job_id: str) -> None:
        """Delete a job with all that is stored of it; one that is running is cancelled first.

        Raises JobNotFound.
        """
        self._run(calls.delete(job_id, retries=self._retries))

    # Answers

    def stream(
        self, model: str, messages: Messages, *, on_restart: OnRestart | None = None, **options: Any
    ) -> Iterator[str]:
        """Submit a job and iterate over the pieces of its text as they come. Takes what `submit` takes.

        The job is submitted when the iteration begins. Dropped connections are taken up again unseen.
        When the job's worker is lost or the provider breaks off, the model is asked anew, and its new
        answer reads differently. If text was already given out by then, StreamRestarted is raised, so
        that two answers are never run together; or `on_restart` is called, where you forget what you
        have shown, and the new text follows. (`follow` and `result` work for the job in any case.)

        Only content is text: reasoning, refusals and tool calls are what `follow` and `result` are for.

        Raises JobFailed and JobCancelled when that is how the job ended, and what `submit` raises.
        """
        job = self.submit(model, messages, **options)
        with self.follow(job.id) as generation:
            yield from generation.texts(on_restart)

    def run(self, model: str, messages: Messages, **options: Any) -> Result:
        """Submit a job and wait for its result. Takes what `submit` takes; raises what `result` raises."""
        return self.result(self.submit(model, messages, **options).id)

    def result(self, job_id: str) -> Result:
        """Wait for a job's ending, however long it takes, and return what the model said.

        Raises JobFailed or JobCancelled when that is how it ended, and JobNotFound.
        """
        return self._run(calls.result(job_id, retries=self._retries))

    def follow(self, job_id: str, after: After = None) -> Generation:
        """Follow a job from its beginning, or from a cursor; see `Generation`.

        Iterating raises JobNotFound, LogExpired, and ServerUnreachable when `retries` are used up.
        """
        return Generation(
            job_id,
            cursor_from(after),
            lambda cursor: self.events(job_id, cursor),
            lambda: self.result(job_id),
        )

    def events(self, job_id: str, after: After = None) -> Generator[Entry]:
        """Iterate over every entry of a job's log after the cursor, live, to the ending. For those who
        want the protocol's own events; see `follow` for what most want. Raises what `follow` raises."""
        return self._entries(follow(job_id, cursor_from(after), self._retries))

    # The driver

    def _run(self, steps: Steps[T]) -> T:
        task = Task(steps)
        with _Wire(self._http, self._connection) as wire:
            while not task.done:
                wire.carry_out(task)
        return task.value

    def _entries(self, steps: Steps[None]) -> Generator[Entry]:
        task = Task(steps)
        with _Wire(self._http, self._connection) as wire:
            while not task.done:
                if isinstance(task.step, Entry):
                    yield task.step
                    task.answer(None)
                else:
                    wire.carry_out(task)

    def close(self) -> None:
        """Close all connections. Jobs are not touched. Closing twice is harmless."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Wire:
    """Carries out the steps of one task, and holds the one answer that may be open meanwhile."""

    def __init__(self, http: httpx.Client, connection: Connection) -> None:
        self._http = http
        self._connection = connection
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def carry_out(self, task: Task[T]) -> None:
        """Do the task's step and tell it how that went."""
        try:
            answer = self._do(task.step)
        except httpx.RequestError as error:
            task.fail(self._connection.meaning_of(error))
        else:
            task.answer(answer)

    def _do(self, step: Step) -> Reply | bytes | None:
        if isinstance(step, Read):
            return next(self._chunks, b"")
        self._close()
        match step:
            case Send():
                return self._send(step.request)
            case Open():
                return self._open(step.request)
            case Sleep():
                time.sleep(step.seconds)
        return None

    def _send(self, request: Request) -> Reply:
        response = self._http.send(self._http.build_request(**self._connection.arguments(request)))
        return reply_from(response, response.content)

    def _open(self, request: Request) -> Reply:
        arguments = self._connection.arguments(request, stream=True)
        self._response = response = self._http.send(self._http.build_request(**arguments), stream=True)
        if response.status_code != 200:
            return reply_from(response, response.read())
        self._chunks = response.iter_bytes()
        return reply_from(response)

    def _close(self) -> None:
        response, self._response, self._chunks = self._response, None, iter(())
        if response is not None:
            response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
