"""Two readings of an event stream that share nothing with tokentail: the WHATWG's words, and httpx-sse's."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import NamedTuple

import h11
from httpx_sse._decoders import SSEDecoder, SSELineDecoder

_END_OF_LINE = re.compile(r"\r\n|\n|\r")


class Message(NamedTuple):
    """What a browser dispatches."""

    id: str
    type: str
    data: str


class EventStream:
    """Section 9.2.6 of the HTML standard, step by step; but bytes that are no UTF-8 are refused."""

    def __init__(self) -> None:
        self.reconnection_ms: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._text = ""
        self._data = self._type = self._id = ""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete."""
        self._text += self._decoder.decode(data)
        found = []
        while (end := _END_OF_LINE.search(self._text)) is not None:
            if end[0] == "\r" and end.end() == len(self._text):
                break  # A newline that belongs to it may follow.
            line, self._text = self._text[: end.start()], self._text[end.end() :]
            if line:
                self._line(line)
            elif self._data:
                found.append(Message(self._id, self._type or "message", self._data.removesuffix("\n")))
            if not line:
                self._data = self._type = ""
        return found

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.reconnection_ms = int(value)


class Answers:
    """What comes over one connection that asks with GET, as strictly as h11 takes it."""

    def __init__(self, target: str, *headers: tuple[str, str]) -> None:
        self._http = h11.Connection(h11.CLIENT)
        request = h11.Request(method="GET", target=target, headers=[("Host", "edge"), *headers])
        self.request = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        self.status = 0
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        """What these bytes hold of the answer's body; no bytes are the connection's end. Raises
        RemoteProtocolError at what is no HTTP, also at an end in mid-body."""
        self._http.receive_data(data)
        body = b""
        while not self.is_over:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self.status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.is_over = True
            elif event is h11.NEED_DATA:
                break
        return body


def as_a_browser(bodies: Iterable[bytes]) -> tuple[list[Message], int | None]:
    """The messages in a body that comes in these pieces, and the time to wait before reconnecting."""
    stream = EventStream()
    return [message for body in bodies for message in stream.feed(body)], stream.reconnection_ms


def as_httpx_sse(bodies: Iterable[bytes]) -> list[Message]:
    """The same, as that library says it. What ends no message is not in it, but an empty one is."""
    text = codecs.getincrementaldecoder("utf-8")("strict")
    lines, decoder = SSELineDecoder(), SSEDecoder()
    found = []
    for body in bodies:
        for line in lines.decode(text.decode(body)):
            if (event := decoder.decode(line)) is not None:
                found.append(Message(event.id, event.event, event.data))
    return found
