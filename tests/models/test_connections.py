"""How a generation treats its connection, where the demo provider is too quick or too kind to show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import Answer, ask, sse, take, write_list

from tokentail.worker.model import Generation, Models
from tokentail.worker.model.deployments import Route

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _chunk(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


async def test_a_connection_is_used_again_though_its_answer_ends_after_done(tmp_path: Path) -> None:
    # Given a server whose responses end a little after their `[DONE]`
    connections = 0
    body = sse(_chunk("Hello", "stop"), "[DONE]")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = next(h for h in head.split(b"\r\n") if h.startswith(b"content-length"))
                await reader.readexactly(int(length.split(b":")[1]))
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n%b\r\n" % (len(body), body))
                await writer.drain()
                await asyncio.sleep(0.02)  # Not to wait for something: this is the gap that is tested.
                writer.write(b"0\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        params = {"model": "openai/m", "api_base": f"http://{host}:{port}/v1", "api_key": "for-this-server"}
        models = Models(write_list(tmp_path, [{"model_name": "it", "litellm_params": params}]), {})
        # When two answers are read one after the other,
        for _ in range(2):
            assert (await ask(models)).result["content"] == "Hello"
    # Then they came over one connection.
    assert connections == 1


class _Stream:
    """What litellm gives: a stream around the provider's chunks."""

    def __init__(self, *chunks: dict[str, Any], error: Exception | None = None) -> None:
        self.completion_stream = self._run(chunks, error)
        self.is_closed = False

    async def _run(self, chunks: tuple[dict[str, Any], ...], error: Exception | None) -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk
        if error is not None:
            raise error

    async def aclose(self) -> None:
        self.is_closed = True


def _generation(stream: _Stream) -> Generation:
    async def connect() -> _Stream:
        return stream

    return Generation(Route("it", "openai", "m", 1, {}, {}, ()), {"messages": []}, connect)


@pytest.mark.parametrize("deltas", [1, None])
async def test_a_stream_is_closed_at_once_even_while_somebody_holds_on_to_it(deltas: int | None) -> None:
    # Given a stream that is referred to from elsewhere, as a traceback or litellm's logging does
    stream = _Stream(_chunk("a"), _chunk("b", "stop"))
    # When its answer is left or read to the end, it is closed.
    await take(Answer(_generation(stream)), deltas)
    assert stream.is_closed


async def test_a_connection_lost_after_the_finish_has_lost_nothing() -> None:
    answer = Answer(_generation(_Stream(_chunk("a", "stop"), error=httpx.ReadError("gone"))))
    await take(answer)
    assert answer.finish is not None
    assert answer.finish.usage["source"] == "estimated"
