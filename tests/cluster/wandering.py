"""A slot that wanders through a cluster."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from nodes import Nodes

from tokentail.worker.writer import Writer

#: Nodes that it goes to, or sets out for; all kinds of step come in so many.
STOPS = 4
#: Of so many setting out, this part is called off before anything was carried.
CALLED_OFF = 0.3
#: Logs that are carried one by one before all others.
CARRIED_ALONE = 2


async def wander(
    nodes: Nodes, writers: list[Writer], dice: random.Random, between: Callable[[], Awaitable[None]]
) -> None:
    """Move the slot that these logs share from node to node, and home in the end. `between` comes between any
    two steps."""
    key = writers[0].key
    home = nodes.holder(key)
    for _ in range(STOPS):
        here = nodes.holder(key)
        stop = dice.choice([node for node in nodes.primaries if node is not here])
        move = nodes.moving(key, stop).begin()
        await between()
        if dice.random() < CALLED_OFF:
            move.cancel()
        else:
            for writer in dice.sample(writers, CARRIED_ALONE):
                move.carry(writer.key)
                await between()
            move.finish()
        await between()
    if nodes.holder(key) is not home:
        nodes.moving(key, home).begin().finish()
