"""Moving a slot by hand, as an operator's tool does, with time for something to happen between the steps."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from node import Node

if TYPE_CHECKING:
    from nodes import Nodes


class SlotMove:
    """A slot on its way from one node to another, step by step."""

    def __init__(self, nodes: Nodes, slot: int, source: Node, target: Node) -> None:
        self._nodes = nodes
        self.slot = slot
        self.source = source
        self.target = target

    def begin(self) -> SlotMove:
        """From now on the source sends those on who ask for what it does not have."""
        self._set(self.target, "IMPORTING", self.source.id)
        self._set(self.source, "MIGRATING", self.target.id)
        return self

    def carry(self, *keys: str) -> None:
        """Move these keys, or all there are."""
        wanted: list[Any] = list(keys) or self.source.client.execute_command(
            "CLUSTER", "GETKEYSINSLOT", self.slot, 10_000
        )
        if wanted:
            self.source.client.execute_command(
                "MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *wanted
            )

    def finish(self) -> None:
        """The target holds the slot, and everybody knows."""
        self.carry()
        for node in dict.fromkeys([self.target, self.source, *self._nodes.primaries]):
            with contextlib.suppress(redis.ResponseError):  # Who gives its last slot away becomes a replica.
                self._set(node, "NODE", self.target.id)
        self._nodes.until_agreed()

    def cancel(self) -> None:
        """The source keeps the slot, and gets back what it gave away."""
        self._set(self.source, "STABLE")
        SlotMove(self._nodes, self.slot, self.target, self.source).carry()
        self._set(self.target, "STABLE")

    def call_off(self) -> SlotMove:
        """Both nodes forget the move. What was carried stands where nobody looks for it."""
        for node in (self.source, self.target):
            self._set(node, "STABLE")
        return self

    def bring_back(self) -> None:
        """What a move that was called off has left over there goes back; what is here by now stands, and its
        old copy goes."""
        # Of a slot that is not its own a node gives keys away only while it takes it over.
        self._set(self.target, "IMPORTING", self.source.id)
        back = SlotMove(self._nodes, self.slot, self.target, self.source)
        for key in self.target.client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, 10_000):
            if self.source.client.exists(key):
                self.target.client.pipeline(transaction=False).execute_command("ASKING").delete(key).execute()
            else:
                back.carry(key)
        self._set(self.target, "STABLE")

    def set_owner(self, of_mind: Node, owner: Node) -> None:
        """Let one node believe that another one, or itself, holds the slot."""
        self._set(of_mind, "NODE", owner.id)

    def _set(self, node: Node, *words: str) -> None:
        node.client.execute_command("CLUSTER", "SETSLOT", self.slot, *words)
