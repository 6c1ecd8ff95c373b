"""One client's connection, for those who write to it without a message of ASGI for each event.

A message costs a coroutine and a task that waits for the client to take it, per follower and event; writing
to the transport costs what the operating system takes. What uvicorn knows of the response stays right: it
writes the head and the last chunk, and nothing in between is counted where the body is chunked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tokentail.api.acknowledged import acknowledged

#: Under this name an app finds the wire of a request among the scope's extensions.
EXTENSION = "tokentail.wire"


class Listener(Protocol):
    """Who writes to a wire, and is told of it. All of it may be called from within `write`."""

    def full(self) -> None:
        """It takes what was written, but should be given no more for now."""

    def room(self) -> None:
        """It may be given more."""

    def lost(self) -> None:
        """There is no client any more."""


class Wire(Protocol):
    """A connection whose response has begun. What is written has to be in chunks (see `chunk`)."""

    listener: Listener | None
    is_full: bool
    is_lost: bool

    def writer(self) -> Callable[[bytes], None]:
        """What writes: as little as possible stands between it and the socket."""

    def taken(self) -> int | None:
        """How many bytes the client has acknowledged; None if there is nothing that it has not, or if nobody
        can tell."""

    def abort(self) -> None:
        """Drop the connection at once. Closing would first wait for a dead peer to take what is buffered."""


class Nowhere:
    """The wire of one who only waits for the ending."""

    listener: Listener | None = None
    is_full = False
    is_lost = False

    def writer(self) -> Callable[[bytes], None]:
        """Writes nothing."""
        return lambda _: None

    def taken(self) -> int | None:
        """There is nothing to take."""
        return None

    def abort(self) -> None:
        """Nothing to drop."""


def chunk(data: bytes) -> bytes:
    """Data as one chunk of a response's body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Pipeline(list[Any]):
    """What uvicorn uses of a deque; an empty one takes 600 bytes, and each connection has one."""

    def appendleft(self, item: Any) -> None:
        """Put a request behind those that wait."""
        self.insert(0, item)


class WireProtocol(HttpToolsProtocol):
    """uvicorn's connection, which is a wire, too."""

    # One more in an instance's dictionary than Python lets instances share the keys of costs each 1.6 KB.
    __slots__ = ("_answering", "is_full", "is_lost", "listener")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.listener: Listener | None = None
        self.is_full = False
        self.is_lost = False
        self.pipeline = Pipeline()  # type: ignore[assignment]
        self._answering: RequestResponseCycle | None = None

    def on_message_begin(self) -> None:
        """Called by the parser when a request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def writer(self) -> Callable[[bytes], None]:
        """The transport's own `write`."""
        return self.transport.write

    def taken(self) -> int | None:
        """What the system knows of it."""
        if self.is_lost:
            return None  # What stands for its socket is none any more, and says so in ways of its own.
        return acknowledged(self.transport.get_extra_info("socket"))

    def abort(self) -> None:
        """Drop the connection at once."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """Called by the transport when it holds more than it should."""
        super().pause_writing()
        self.is_full = True
        if self.listener is not None:
            self.listener.full()

    def resume_writing(self) -> None:
        """Called by the transport when most of that is gone."""
        super().resume_writing()
        self.is_full = False
        if self.listener is not None:
            self.listener.room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport at its end."""
        super().connection_lost(exc)
        # uvicorn tells only the newest request of a connection. An older one that is still being answered
        # would write to what is closed.
        if self._answering is not None:
            self._answering.disconnected = True
        self.is_lost = True
        if self.listener is not None:
            self.listener.lost()


def wire_of(scope: Any) -> Wire:
    """The wire of a request. Raises RuntimeError under a server that has none."""
    wire = scope.get("extensions", {}).get(EXTENSION)
    if wire is None:
        raise RuntimeError("Streams are served by `tokentail api` only: its server lets them write directly.")
    return wire  # type: ignore[no-any-return]
