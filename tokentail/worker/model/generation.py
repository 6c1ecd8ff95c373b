"""One answer of a model while it comes in."""

from __future__ import annotations

import time
from asyncio import sleep
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx

from tokentail.shared.errors import ModelError
from tokentail.shared.events import Delta, FinishReason, Usage
from tokentail.worker.model import usage as usages
from tokentail.worker.model.chunks import ChunkReader, as_openai
from tokentail.worker.model.deployments import Route
from tokentail.worker.model.door import (
    AsyncStream,
    BaseModelResponseIterator,
    OpenAIChatCompletionStreamingHandler,
)
from tokentail.worker.model.provider_errors import model_error, truncated
from tokentail.worker.model.sse import json_chunks

#: Chunks that have arrived already are read without waiting; after this long, others get their turn.
TURN_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Finish:
    """The model is done. `cost_usd` is None when the price is not known; it is never a guess."""

    finish_reason: FinishReason
    usage: Usage
    cost_usd: float | None


class Generation:
    """Iterate it once: every delta as it comes, then one Finish. Close it, whatever happened.

    Iterating raises ModelError, and nothing else, when the provider fails. `aclose` (or a cancellation
    of the iterating task followed by it) closes the provider's connection if the answer is not whole.
    Nothing is sent before the first step of the iteration.
    """

    def __init__(self, route: Route, call: Mapping[str, Any], connect: Callable[[], Awaitable[Any]]) -> None:
        self.route = route
        self._call = call
        self._connect = connect
        self._reader = ChunkReader()
        self._items = self._run()

    def __aiter__(self) -> AsyncGenerator[Delta | Finish]:
        return self._items

    async def aclose(self) -> None:
        """Stop. Safe at any time, also twice, except while another task is iterating."""
        await self._items.aclose()

    def usage_so_far(self) -> Usage:
        """Tokens used until now: the provider's count if it has come, else an estimate. Cheap."""
        reader = self._reader
        return usages.counted(reader.usages) or usages.estimated(
            self._call, reader.byte_count, reader.chunk_count
        )

    async def _run(self) -> AsyncGenerator[Delta | Finish]:
        try:
            stream = await self._connect()
            async with aclosing(stream), aclosing(_chunks(stream)) as chunks:
                async for item in self._deltas(chunks):
                    yield item
        except ModelError:
            raise
        except Exception as error:
            # A connection lost after the model said why it stopped has lost nothing but the usage.
            if not (self._reader.is_finished and isinstance(error, httpx.TransportError)):
                # Without its cause: that holds the request, with key and prompt, for loggers to print.
                raise model_error(error, self.route.secrets) from None
        if not self._reader.is_finished:
            raise truncated()
        yield self._finish()

    async def _deltas(self, chunks: AsyncGenerator[Mapping[str, Any]]) -> AsyncGenerator[Delta]:
        read, clock = self._reader.read, time.monotonic
        turn_ends = clock() + TURN_SECONDS
        async for chunk in chunks:
            delta = read(chunk)
            if delta is not None:
                yield delta
            if clock() > turn_ends:
                await sleep(0)
                turn_ends = clock() + TURN_SECONDS

    def _finish(self) -> Finish:
        usage = self.usage_so_far()
        return Finish(self._reader.finish_reason, usage, usages.cost(self.route, self._reader.usages, usage))


async def _chunks(stream: Any) -> AsyncGenerator[Mapping[str, Any]]:
    """The chunks inside a litellm stream, in OpenAI's shape, before its wrapper works on them."""
    source = stream.completion_stream
    if source is None:
        source = await stream.fetch_stream()
    if isinstance(source, AsyncStream):
        # The OpenAI SDK: OpenAI, Azure and all that speak like them.
        async for event in json_chunks(source.response.aiter_bytes()):
            yield event
    elif _is_plain_reader(source):
        parse = source.chunk_parser if type(source) is not OpenAIChatCompletionStreamingHandler else None
        async for sent in json_chunks(source.http_response.aiter_bytes()):
            known: Mapping[str, Any] | None = as_openai(parse(sent)) if parse else sent
            if known is not None:
                yield known
    else:
        async for chunk in _objects(stream, source):
            yield chunk


def _is_plain_reader(source: Any) -> bool:
    """Whether it is one of litellm's line readers with only its own idea of a chunk, not of lines."""
    base = BaseModelResponseIterator
    return (
        isinstance(source, base)
        and source.http_response is not None
        and type(source).__anext__ is base.__anext__
        and type(source)._handle_string_chunk is base._handle_string_chunk
    )


async def _objects(stream: Any, source: Any) -> AsyncGenerator[Mapping[str, Any]]:
    """Anthropic, Gemini, Bedrock and the rest: what litellm's own reader makes of the provider's format.
    A kind of chunk that only litellm's wrapper can read goes through the wrapper."""
    if not hasattr(source, "__aiter__"):
        source = stream
    async for raw in source:
        known = as_openai(raw)
        if known is None and raw is not None and source is not stream:
            known = as_openai(stream.chunk_creator(raw))
        if known is not None:
            yield known
