"""Reading logs while their slot moves from one node of a cluster to another.

Until the move is over some of the slot's logs are here and some there, logs that don't exist yet are said to
be there, and no read can join the two: so each log is read for itself, on the node where it is.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tokentail.api.tracking import Tracking
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.exchange import Command, exchange, packed
from tokentail.shared.slots import redirection


def means_migration(refusal: ResponseError) -> bool:
    """Whether logs can't be read together because their slot is on its way to another node."""
    return str(refusal).startswith(("ASK ", "TRYAGAIN "))


async def read_singly(
    plane: DataPlane, node: str, tracking: Tracking, positions: dict[bytes, bytes], count: int
) -> list[tuple[bytes, Any]]:
    """What XREAD would answer for these logs if they were in one place; waits for nothing.

    `tracking` leads to the node that the slot comes from. Raises what the driver raises, a MOVED once the
    slot has arrived.
    """
    reads: list[Command] = [
        (b"XREAD", b"COUNT", b"%d" % count, b"STREAMS", key, at) for key, at in positions.items()
    ]
    found: list[tuple[bytes, Any]] = []
    elsewhere: dict[str, list[Command]] = {}
    replies = await tracking.ask(b"".join(map(packed, reads)), len(reads))
    for read, reply in zip(reads, replies, strict=True):
        if isinstance(reply, ResponseError):
            led = redirection(reply, node)
            if led is None or not led.asking:
                raise reply
            elsewhere.setdefault(led.node, []).append(read)
        elif reply:
            found += reply.items()
    for other, its_reads in elsewhere.items():
        found += await _read_arrived(plane.client(other), its_reads)
    return found


async def _read_arrived(client: Redis, reads: list[Command]) -> list[tuple[bytes, Any]]:
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        replies = await exchange(connection, [word for read in reads for word in (("ASKING",), read)])
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)
    found: list[Any] = []
    for reply in replies[1::2]:
        if isinstance(reply, ResponseError):
            raise reply
        found += reply or ()
    return found
