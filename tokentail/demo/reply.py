"""The two ways to hand out a completion: as a stream, or whole. A player speaks to either."""

from __future__ import annotations

from typing import Protocol

from tokentail.demo.asgi import Headers, Send, send_json
from tokentail.demo.body import Body
from tokentail.demo.catalogue import UsageManner
from tokentail.demo.completion import COMMENT, DONE, Chunks, WholeMessage, usage_of
from tokentail.demo.errors import ProviderError
from tokentail.demo.ledger import Record
from tokentail.demo.steps import Delta


class Reply(Protocol):
    """What is said is gathered until `flush`; only `open`, `flush` and `end` touch the connection."""

    #: Tokens that have been said but not yet flushed.
    gathered: int

    async def open(self) -> None: ...
    def say(self, delta: Delta) -> None: ...
    def comment(self) -> None: ...
    def garbage(self, text: str) -> None: ...
    def fail(self, message: str) -> None: ...
    def finish(self, reason: str) -> None: ...
    async def flush(self) -> None: ...
    async def end(self, *, done: bool) -> None: ...


class StreamedReply:
    """Server-sent events, a chunk each. What is flushed together goes out in one write."""

    def __init__(self, send: Send, record: Record, body: Body, manner: UsageManner, created: int) -> None:
        self.gathered = 0
        self._send = send
        self._record = record
        self._body = body
        self._manner = manner
        self._chunks = Chunks(record.id, created, body)
        self._frames: list[bytes] = []
        self._thoughts = 0
        self._finished = False

    async def open(self) -> None:
        """Send the head and the opening chunk. Later flushes need not call it."""
        if self._record.status is None:
            self._record.status = 200
            await self._send({"type": "http.response.start", "status": 200, "headers": self._headers()})
            opening = {"type": "http.response.body", "body": self._chunks.opening(), "more_body": True}
            await self._send(opening)

    def _headers(self) -> Headers:
        return [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-request-id", self._record.id.encode()),
        ]

    def say(self, delta: Delta) -> None:
        """One token more."""
        self.gathered += 1
        self._thoughts += "reasoning_content" in delta or "reasoning" in delta
        self._frames.append(self._chunks.token(delta))

    def comment(self) -> None:
        """A sign of life that is not an event."""
        self._frames.append(COMMENT)

    def garbage(self, text: str) -> None:
        """An event that is no JSON."""
        self._frames.append(f"data: {text}\n\n".encode())

    def fail(self, message: str) -> None:
        """An error event."""
        self._frames.append(Chunks.error(message))

    def finish(self, reason: str) -> None:
        """The model has stopped."""
        self._finished = True
        self._frames.append(self._chunks.finish(reason))

    async def flush(self) -> None:
        """Hand over all that was gathered, in one write."""
        if self._frames:
            await self._write(more=True)

    async def end(self, *, done: bool) -> None:
        """Hand over the rest, with usage if the model finished and it was asked for; close the stream."""
        if self._finished and self._body.include_usage and self._manner != "never":
            usage = usage_of(self._body, self._record.tokens + self.gathered, self._thoughts)
            self._frames.append(self._chunks.usage(usage, one_choice=self._manner == "one_choice"))
        if done:
            self._frames.append(DONE)
        await self._write(more=False)

    async def _write(self, *, more: bool) -> None:
        await self.open()
        raw = b"".join(self._frames)
        self._frames.clear()
        self._record.sent(self.gathered)
        self.gathered = 0
        await self._send({"type": "http.response.body", "body": raw, "more_body": more})


class WholeReply:
    """One JSON object at the end. Until then nothing is sent, so an error can still be a status."""

    def __init__(self, send: Send, record: Record, body: Body, manner: UsageManner, created: int) -> None:
        self.gathered = 0
        self._send = send
        self._record = record
        self._body = body
        self._manner = manner
        self._message = WholeMessage(record.id, created, body)
        self._reason: str | None = None
        self._thoughts = 0

    async def open(self) -> None:
        """Nothing: the head goes out with the message."""

    def say(self, delta: Delta) -> None:
        """One token more."""
        self.gathered += 1
        self._thoughts += "reasoning_content" in delta or "reasoning" in delta
        self._message.add(delta)

    def comment(self) -> None:
        """Nothing: JSON has no comments."""

    def garbage(self, text: str) -> None:
        """Raises ProviderError (500): a message can't be half broken and still arrive."""
        self.fail(text)

    def fail(self, message: str) -> None:
        """Raises ProviderError (500)."""
        raise ProviderError(500, message, kind="server_error")

    def finish(self, reason: str) -> None:
        """The model has stopped."""
        self._reason = reason

    async def flush(self) -> None:
        """Nothing goes out before the end."""

    async def end(self, *, done: bool) -> None:
        """Send the message."""
        usage = None
        if self._manner != "never":
            usage = usage_of(self._body, self.gathered, self._thoughts)
        self._record.status = 200
        self._record.sent(self.gathered)
        await send_json(self._send, 200, self._message.completion(self._reason, usage))
