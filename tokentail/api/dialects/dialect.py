"""How a log is spoken: what its entries look like on the wire of one protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from tokentail.api import sse


class Frames(NamedTuple):
    """What one entry looks like, possibly nothing. `is_last`: who was told this is told nothing more, though
    the log may go on (a protocol that can't take back what it said ends there)."""

    data: bytes
    is_last: bool = False


#: Makes the frames of a log's entries, given each one's id and JSON. What it makes may depend on the entries
#: before, so they are given from the first one, in their order.
Rendering = Callable[[bytes, bytes], Frames]


class Dialect(Protocol):
    """Hashable: two that are equal make the same bytes of the same log, so their followers share them."""

    @property
    def is_stateless(self) -> bool:
        """Whether an entry's frames depend on that entry only."""

    def rendering(self) -> Rendering:
        """For one reading of a log from its first entry."""

    def greeting(self, retry_ms: int) -> bytes:
        """What goes out with the headers, also while the job waits; where the protocol has a word for it, it
        asks a client that loses us to wait that long."""

    def farewell(self) -> bytes:
        """Told to a client whose stream ends before the log does, if it could not know otherwise."""

    def reset(self, requested: str) -> bytes:
        """Told to a follower whose cursor can't be proven, before the log from its start."""


class Native:
    """Our own protocol, section 3: an entry's JSON goes out as the worker wrote it."""

    is_stateless = True

    def rendering(self) -> Rendering:
        """Frames with their ids."""
        return _native

    def greeting(self, retry_ms: int) -> bytes:
        """A comment, and the wait before reconnecting."""
        return sse.CONNECTED + sse.retry(retry_ms)

    def farewell(self) -> bytes:
        """Nothing: an end without an ending says it."""
        return b""

    def reset(self, requested: str) -> bytes:
        """The reset event."""
        return sse.reset(requested)


def _native(entry_id: bytes, raw: bytes) -> Frames:
    return Frames(sse.block(entry_id, raw))


#: The one that is spoken unless another one was asked for.
NATIVE = Native()
