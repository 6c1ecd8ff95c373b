"""A server that says what a test tells it to, over a real socket, and can do everything wrong.

It serves one request per connection. For each route a test gives the answers in order; the last one
is repeated. An answer is a function that writes to the connection.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Logged = tuple[str, dict[str, Any]]


@dataclass
class Received:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request and the connection that it came on."""

    request: Received
    connection: socket.socket
    closing: threading.Event

    def send(self, raw: bytes, step: int = 0) -> None:
        """Send bytes, in pieces of `step` bytes if that is given."""
        for start in range(0, len(raw), step or len(raw) or 1):
            self.connection.sendall(raw[start : start + (step or len(raw))])

    def break_off(self) -> None:
        """Close with a reset, as a crash or a network does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@dataclass
class ScriptedServer:
    """Start it with `with`; `url` is its address and `requests` what it was asked."""

    requests: list[Received] = field(default_factory=list)

    def __enter__(self) -> ScriptedServer:
        self._routes: dict[tuple[str, str], list[Answer]] = {}
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """What to answer to this method and path, ignoring the query: each in turn, the last for ever."""
        self._routes[method, path] = list(answers)

    def asked(self, method: str, path: str) -> list[Received]:
        """The requests to this method and path so far."""
        return [one for one in self.requests if (one.method, one.target.partition("?")[0]) == (method, path)]

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            request = _read_request(connection)
            if request is None:
                return
            self.requests.append(request)
            answers = self._routes.get((request.method, request.target.partition("?")[0]), [not_found])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            with contextlib.suppress(OSError):  # Clients go away.
                answer(Exchange(request, connection, self._closing))


def _read_request(connection: socket.socket) -> Received | None:
    file = connection.makefile("rb")
    line = file.readline()
    if not line:
        return None
    method, target, _ = line.decode().split(" ")
    headers = {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return Received(method, target, headers, file.read(int(headers.get("content-length", 0))))


# Answers


def reply(status: int, body: Any = None, **headers: str) -> Answer:
    """Answer with JSON. Header names are written with underscores."""

    def answer(exchange: Exchange) -> None:
        raw = b"" if body is None else json.dumps(body).encode()
        fields = {"content-type": "application/json", **headers, "connection": "close"}
        if status != 204:
            fields["content-length"] = str(len(raw))
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        exchange.send(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + raw)

    return answer


def problem(status: int, code: str, detail: str = "So it is.", **more: Any) -> Answer:
    """Answer with problem+json; `headers` apart, the rest are members of the problem."""
    headers = more.pop("headers", {})
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, **more}
    return reply(status, body, content_type="application/problem+json", **headers)


def watched(answer: Answer, let_go: threading.Event) -> Answer:
    """Give an answer that does not end, and set `let_go` when the client closes the connection."""

    def answer_and_watch(exchange: Exchange) -> None:
        answer(exchange)
        exchange.connection.settimeout(30)
        if exchange.connection.recv(1) == b"":
            let_go.set()

    return answer_and_watch


def hang_up(exchange: Exchange) -> None:
    """Take the request and break the connection off without a word."""
    exchange.break_off()


not_found = problem(404, "not_found", "There is no such job.")


def stream(
    log: Iterable[Logged | str],
    *,
    end: str = "clean",
    upto: int | None = None,
    step: int = 0,
    deaf: bool = False,
) -> Answer:
    """Serve a log from where the request wants it, only its first `upto` entries, and end that.

    `end` is "clean", "drop" (the connection closes without the end that HTTP wants) or "hold" (silence
    until the server is closed). `deaf`: from the start, whatever the request wants. A text in the log is
    sent as it is.
    """
    entries = list(log)

    def answer(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        )
        cursor = exchange.request.headers.get("last-event-id")
        places = {one[0]: place for place, one in enumerate(entries, 1) if not isinstance(one, str)}
        start = 0 if deaf else places.get(cursor, 0)
        text = ": connected\nretry: 1\n" + "".join(frame(one) for one in entries[start:upto])
        _send_chunks(exchange, text.encode(), step)
        if end == "clean":
            exchange.send(b"0\r\n\r\n")
        elif end == "hold":
            exchange.closing.wait(60)

    return answer


def frame(one: Logged | str) -> str:
    """A log entry as a server-sent event."""
    if isinstance(one, str):
        return one
    entry_id, event = one
    named = f"id: {entry_id}\n" if entry_id else ""
    return f"{named}event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"


def _send_chunks(exchange: Exchange, raw: bytes, step: int) -> None:
    for start in range(0, len(raw), step or len(raw)):
        piece = raw[start : start + (step or len(raw))]
        exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
