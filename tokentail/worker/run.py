"""Neighbouring entries of one writer on their way to Redis."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError, ResponseError

from tokentail.shared.exchange import Command
from tokentail.shared.log import FIELD
from tokentail.worker.writer import Writer

_BECAUSE = "Transaction discarded because of: "


class Run(NamedTuple):
    """Entries `first`, `first` + 1, … of a writer, `length` in all."""

    writer: Writer
    first: int
    length: int

    def commands(self) -> list[Command]:
        """What stores all of them or none. One by one, the first could be refused, for lack of memory or as
        its node is taken out of service, and the next be taken a moment later: a token would be missing."""
        writer = self.writer
        adds: list[Command] = [
            ("XADD", writer.key, "NOMKSTREAM", f"{writer.fence}-{seq}", FIELD, writer.entries[seq])
            for seq in range(self.first, self.first + self.length)
        ]
        return adds if self.length == 1 else [("MULTI",), *adds, ("EXEC",)]

    def outcome(self, replies: list[Any]) -> list[Any] | Exception:
        """A reply for each entry, or why none is stored."""
        if self.length == 1:
            return replies[0] if isinstance(replies[0], Exception) and not is_late(replies[0]) else replies
        done = replies[-1]
        if not isinstance(done, Exception):
            return done  # type: ignore[no-any-return]
        return _reason(next(reply for reply in replies if isinstance(reply, Exception)))


def is_late(reply: Any) -> bool:
    """Whether an entry was refused because the log holds it already, or a newer one."""
    return isinstance(reply, ResponseError) and "equal or smaller" in str(reply)


def _reason(refusal: Exception) -> Exception:
    if not str(refusal).startswith(_BECAUSE):
        return refusal
    reason = str(refusal).removeprefix(_BECAUSE)
    return OutOfMemoryError(reason) if reason.startswith("OOM ") else ResponseError(reason)
