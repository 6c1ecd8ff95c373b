"""Bytes → server-sent events, as the WHATWG parsing rules say. No I/O.

<field>:<space?><value><end>   end is LF, CR or CRLF; a line that starts with a colon is a comment
<empty line>                   dispatches what has been gathered, if there was any data
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One dispatched event. `id` is the last id that the stream has named so far, "" if none."""

    id: str
    event: str
    data: str


class Decoder:
    """Feed it bytes, cut anywhere; it gives back the events that are complete.

    An event is given out as soon as the first byte of its closing line end is there. What is left
    when the stream ends was cut off and is rightly never given out.
    """

    def __init__(self, retry_ms: int | None = None) -> None:
        #: The newest `retry:` of the stream, in milliseconds; until there is one, what was given.
        self.retry_ms = retry_ms
        self._last_id = ""
        self._event = ""
        self._data: list[str] = []
        self._partial: list[bytes] = []
        self._after_cr = False
        self._head: bytes | None = b""

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Take the next bytes and yield the events that they complete. Consume it whole."""
        for line in self._lines(self._without_bom(chunk)):
            if not line:
                yield from self._dispatch()
            elif not line.startswith(b":"):
                self._field(line.decode("utf-8", "replace"))

    def _without_bom(self, chunk: bytes) -> bytes:
        if self._head is None:
            return chunk
        self._head += chunk
        if len(self._head) < len(_BOM) and _BOM.startswith(self._head):
            return b""
        head, self._head = self._head, None
        return head.removeprefix(_BOM)

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_cr and chunk:
            # The CR has already ended its line, so that a server that ends lines with CR alone is not
            # read one event late. A LF that follows it belongs to it.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        for line in chunk.splitlines(keepends=True):
            self._partial.append(line)
            if line.endswith((b"\r", b"\n")):
                yield b"".join(self._partial).rstrip(b"\r\n")
                self._partial.clear()
        if chunk:
            self._after_cr = chunk.endswith(b"\r")

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._last_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)

    def _dispatch(self) -> Iterator[ServerSentEvent]:
        if self._data:
            yield ServerSentEvent(self._last_id, self._event or "message", "\n".join(self._data))
        self._event = ""
        self._data.clear()
