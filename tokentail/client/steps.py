"""The seam between what the client decides and how it does I/O.

Everything of substance is a generator that yields *steps*: "send this", "read on", "wait". A driver, one
for threads and one for asyncio, carries each step out and sends the answer back in, or throws
`ServerUnreachable` or `ConnectionLost` where it happened. So each rule is written once, can be
read as one piece, and is tested without a socket.

    step     the answer it gets
    Send     a Reply
    Open     a Reply; when its status is 200, its body is empty and is read with Read
    Read     the next bytes of what was opened; b"" at its end
    Sleep    None
    Entry    None; it is not for the driver but for the caller, who is handed it
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from tokentail.client.errors import ServerUnreachable
from tokentail.shared.cursor import Cursor

T = TypeVar("T")


class Entry(NamedTuple):
    """One event and the cursor that resumes after it, which is None when that is the beginning.

    Besides the log's own events (`tokentail.shared.events`) there are the server's `reset` and types
    that are newer than this client.
    """

    cursor: Cursor | None
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, relative to the server's address. `hold_seconds` is how long the server was
    asked to hold its answer back."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hold_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. Header names are in lower case. `repeated` tells that an earlier copy of the request
    may have been carried out."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request and get its whole answer. Closes what was opened."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request and leave its answer's body unread. Closes what was opened before."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for more of the opened answer; longer than `silence_seconds` counts as a lost connection."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait. Closes what was opened: nobody would be reading it."""

    seconds: float


Step = Send | Open | Read | Sleep | Entry
Steps = Generator[Step, Any, T]


class Task(Generic[T]):
    """A generator of steps, held so that a driver is a loop: do `step`, then `answer` or `fail`.

    `value` is what the generator returned, once `done`. Whatever it raises comes out of the call
    that made it run on.
    """

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self.done = False
        self.value: T
        self.step: Step
        self.answer(None)

    def answer(self, answer: Reply | bytes | None) -> None:
        """The step was done; go on to the next."""
        try:
            self.step = self._steps.send(answer)
        except StopIteration as end:
            self.done, self.value = True, end.value

    def fail(self, error: ServerUnreachable) -> None:
        """The step could not be done; what follows is up to the generator."""
        try:
            self.step = self._steps.throw(error)
        except StopIteration as end:
            self.done, self.value = True, end.value
