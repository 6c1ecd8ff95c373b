"""A client's connection without a network: it keeps what is written to it, and is full or lost on demand."""

from __future__ import annotations

from collections.abc import Callable

from tokentail.api.wire import EXTENSION, Listener


class Sink:
    """A wire (`tokentail.api.wire.Wire`)."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.is_full = False
        self.is_lost = False
        self.aborted = 0
        #: Of more, how many bytes the client has acknowledged; None while it has taken everything.
        self.acknowledged: int | None = None
        self.writes: list[bytes] = []

    def writer(self) -> Callable[[bytes], None]:
        return self.writes.append

    def taken(self) -> int | None:
        return self.acknowledged

    def abort(self) -> None:
        self.aborted += 1

    def fill(self) -> None:
        """The client takes nothing more for now."""
        self.is_full = True
        if self.listener is not None:
            self.listener.full()

    def drain(self) -> None:
        """It takes everything again."""
        self.is_full = False
        if self.listener is not None:
            self.listener.room()

    def lose(self) -> None:
        """The client goes."""
        self.is_lost = True
        if self.listener is not None:
            self.listener.lost()

    @property
    def raw(self) -> bytes:
        """What the client has read, without the chunks that it came in."""
        return b"".join(unchunked(b"".join(self.writes)))

    def extensions(self) -> dict[str, object]:
        """As a request's scope holds it."""
        return {EXTENSION: self}


def unchunked(body: bytes) -> list[bytes]:
    """The chunks of a body that is not over."""
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n"
        found.append(rest[:length])
        body = rest[length + 2 :]
    return found
