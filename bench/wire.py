"""A client that adds as little as possible to what it times: HTTP/1.1 on one blocking socket.

An HTTP library would add a millisecond of its own to each request, twice on tokentail's side.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import orjson

_PATIENCE_SECONDS = 30.0
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Connection:
    """One persistent connection; one request at a time."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host = address.netloc
        self._socket = socket.create_connection((address.hostname, address.port), _PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = bytearray()

    def post(self, path: str, body: Any) -> None:
        """Send a request; read its answer with one of the methods below."""
        raw = orjson.dumps(body)
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        self._send(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)

    def get(self, path: str) -> None:
        """Send a request; read its answer with one of the methods below."""
        self._send(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    def _send(self, raw: bytes) -> None:
        self._got.clear()
        self._socket.sendall(raw)

    def json(self) -> Any:
        """A whole answer that says its length."""
        self.until(b"\r\n\r\n")
        head, _, _ = bytes(self._got).partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        end = len(head) + 4 + int(fields[b"content-length"])
        while len(self._got) < end:
            self._more()
        return orjson.loads(self._got[len(head) + 4 : end])

    def until(self, mark: bytes) -> None:
        """Return as soon as the answer has come up to this mark."""
        while mark not in self._got:
            self._more()

    def finish(self) -> None:
        """Read a chunked answer to its end, so that the connection can be used again."""
        while not self._got.endswith(_LAST_CHUNK):
            self._more()

    def count(self, mark: bytes) -> int:
        """How often this stands in the answer."""
        return self._got.count(mark)

    def _more(self) -> None:
        block = self._socket.recv(65536)
        if not block:
            raise RuntimeError(f"The connection ended in mid-answer: {bytes(self._got[-500:])!r}")
        self._got += block
        if not self._got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202")):
            raise RuntimeError(f"Refused: {bytes(self._got[:500])!r}")

    def close(self) -> None:
        """Close it."""
        self._socket.close()
