"""One job being followed: an iterator over what the model says. A twin each for threads and asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Self

from tokentail.client.errors import LogExpired
from tokentail.client.job import Result
from tokentail.client.steps import Entry
from tokentail.client.transcript import Restarted, TextPieces, Transcript
from tokentail.shared.cursor import Cursor
from tokentail.shared.events import Delta

OnRestart = Callable[[Restarted], object]


class Generation(Transcript):
    """Iterate it for the deltas as they come, and a `Restarted` whenever all that came before is void.

    Iteration survives dropped connections and ends with the job, however that ended: look at `ending`,
    or let `result()` raise. It may be left and taken up again, also after an error: it goes on where it
    was. A context manager, for those who leave early.
    """

    def __init__(
        self,
        job_id: str,
        after: Cursor | None,
        entries: Callable[[Cursor | None], Generator[Entry]],
        fetch_result: Callable[[], Result],
    ) -> None:
        super().__init__(job_id, after)
        self._open = entries
        self._entries: Generator[Entry] | None = None
        self._over = False
        self._fetch_result = fetch_result

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta | Restarted:
        if self._over:
            raise StopIteration
        self._entries = self._entries or self._open(self.cursor)
        try:
            for entry in self._entries:
                if (item := self.take(entry)) is not None:
                    return item
        except BaseException:
            self._entries = None
            raise
        self._over = True
        raise StopIteration

    def texts(self, on_restart: OnRestart | None = None) -> Iterator[str]:
        """Iterate over pieces of text only; `Client.stream` says what can be relied on."""
        pieces = TextPieces(self.job_id, on_restart)
        for item in self:
            if text := pieces.take(item):
                yield text
        self.result()

    def result(self) -> Result:
        """Read on to the ending and return what was said. Raises JobFailed or JobCancelled."""
        try:
            for _ in self:
                pass
        except LogExpired:
            return self._fetch_result()
        return self.final_result() or self._fetch_result()

    def close(self) -> None:
        """Let go of the connection. The job is not touched; iterating again connects again."""
        entries, self._entries = self._entries, None
        if entries is not None:
            entries.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncGeneration(Transcript):
    """The asyncio twin of `Generation`. Cancelling an iteration loses nothing: it may be taken up again."""

    def __init__(
        self,
        job_id: str,
        after: Cursor | None,
        entries: Callable[[Cursor | None], AsyncGenerator[Entry]],
        fetch_result: Callable[[], Awaitable[Result]],
    ) -> None:
        super().__init__(job_id, after)
        self._open = entries
        self._entries: AsyncGenerator[Entry] | None = None
        self._over = False
        self._fetch_result = fetch_result

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Restarted:
        if self._over:
            raise StopAsyncIteration
        self._entries = self._entries or self._open(self.cursor)
        try:
            async for entry in self._entries:
                if (item := self.take(entry)) is not None:
                    return item
        except BaseException:
            self._entries = None
            raise
        self._over = True
        raise StopAsyncIteration

    async def texts(self, on_restart: OnRestart | None = None) -> AsyncIterator[str]:
        """Iterate over pieces of text only; `AsyncClient.stream` says what can be relied on."""
        pieces = TextPieces(self.job_id, on_restart)
        async for item in self:
            if text := pieces.take(item):
                yield text
        await self.result()

    async def result(self) -> Result:
        """Read on to the ending and return what was said. Raises JobFailed or JobCancelled."""
        try:
            async for _ in self:
                pass
        except LogExpired:
            return await self._fetch_result()
        return self.final_result() or await self._fetch_result()

    async def aclose(self) -> None:
        """Let go of the connection. The job is not touched; iterating again connects again."""
        entries, self._entries = self._entries, None
        if entries is not None:
            await entries.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
