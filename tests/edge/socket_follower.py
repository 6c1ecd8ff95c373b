"""A client that follows over a plain socket, and reads no more than it is told to."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from eventstream import Answers, EventStream, Message
from processes import PATIENCE_SECONDS

_BLOCK_BYTES = 64 * 1024


class SocketFollower:
    """One request for a job's events, sent; `read` takes what has come. `raw` keeps every byte of it."""

    def __init__(
        self,
        address: tuple[str, int],
        job_id: str,
        after: str | None = None,
        *,
        receive_bytes: int | None = None,
    ) -> None:
        headers = [("Last-Event-ID", after)] if after else []
        self.answers = Answers(f"/v1/jobs/{job_id}/events", *headers)
        self.stream = EventStream()
        self.raw = b""
        self.messages: list[Message] = []
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(address)
        self.socket.sendall(self.answers.request)

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended as it should."""
        return self.answers.is_over

    def read(self) -> None:
        """Wait for something, and take it in. Raises RemoteProtocolError if the answer breaks off."""
        data = self.socket.recv(_BLOCK_BYTES)
        self.raw += data
        self.messages += self.stream.feed(self.answers.feed(data))

    def read_what_is_there(self) -> None:
        """Wait for nothing."""
        while not self.is_over and select.select([self.socket], [], [], 0)[0]:
            self.read()

    def until(self, condition: Callable[[SocketFollower], bool]) -> None:
        """Read until it holds."""
        while not condition(self):
            assert not self.is_over, "the answer ended before that"
            self.read()

    def close(self) -> None:
        self.socket.close()
