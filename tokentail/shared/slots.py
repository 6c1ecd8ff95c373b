"""Which node of a cluster holds which slot, and what a node says when it does not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tokentail.shared.redis_url import Address

#: Every cluster has so many, and each key belongs to one.
SLOTS = 16_384

_REDIRECTION = re.compile(r"(?P<kind>MOVED|ASK) (?P<slot>\d+) (?P<host>\S*):(?P<port>\d+)")


class Redirection(NamedTuple):
    """A node's word that a key is to be asked for elsewhere. Nodes are called by host:port.

    With `asking` the slot is just on its way there: each command for it must be preceded by ASKING, and
    other keys of the slot may still be where they were.
    """

    slot: int
    node: str
    asking: bool


def redirection(refusal: Exception, said_by: str) -> Redirection | None:
    """Where the answer leads to; None if it says something else. A command that got it was not executed."""
    match = _REDIRECTION.match(str(refusal))
    if match is None:
        return None
    node = _name(match["host"], int(match["port"]), said_by)
    return Redirection(int(match["slot"]), node, match["kind"] == "ASK")


def _name(host: str, port: int, said_by: str) -> str:
    # Who does not know by which name another one is to be called, mostly itself, says so.
    known = host if host not in ("", "?") else said_by.rpartition(":")[0].strip("[]")
    return str(Address(known, port))


class SlotRange(NamedTuple):
    """Neighbouring slots and who holds them: the primary first, then its replicas."""

    first: int
    last: int
    nodes: tuple[str, ...]


class SlotMap:
    """What one node said of the whole cluster, corrected by what others said of single slots since."""

    def __init__(self, ranges: Iterable[SlotRange] = ()) -> None:
        self._owners: list[str | None] = [None] * SLOTS
        self.primaries: set[str] = set()
        self.replicas: set[str] = set()
        for first, last, (primary, *replicas) in ranges:
            self._owners[first : last + 1] = [primary] * (last + 1 - first)
            self.primaries.add(primary)
            self.replicas.update(replicas)

    @classmethod
    def parse(cls, answer: Iterable[list], said_by: str) -> SlotMap:  # type: ignore[type-arg]
        """From the answer to CLUSTER SLOTS."""
        return cls(
            SlotRange(
                first, last, tuple(_name((host or b"").decode(), port, said_by) for host, port, *_ in nodes)
            )
            for first, last, *nodes in answer
        )

    def owner(self, slot: int) -> str | None:
        """The primary that holds a slot, as far as is known."""
        return self._owners[slot]

    def move(self, slot: int, node: str) -> None:
        """A node said that this one holds the slot."""
        self._owners[slot] = node
        self.primaries.add(node)

    @property
    def uncovered(self) -> int:
        """How many slots nobody holds."""
        return self._owners.count(None)
