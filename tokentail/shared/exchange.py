"""Several commands over one raw connection, in one trip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import ResponseError

#: The words of a command.
Command = tuple[Any, ...]


async def exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """The reply to each command. A refusal is a reply; raises what means that there will be no more, also
    when the connection is not open: to open it again is the caller's, who has to know."""
    if not commands:
        return []
    if not connection.is_connected:
        # The driver would connect again in silence, perhaps to another primary, which was asked nothing yet.
        raise ConnectionError("The connection was ended.")
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [await _reply(connection) for _ in commands]


def packed(words: Sequence[bytes], *more: Sequence[bytes]) -> bytes:
    """One command as the protocol writes it, with more words that were made by `word` before: for a thousand
    of them the driver takes milliseconds."""
    count = len(words) + sum(map(len, more))
    return b"".join([b"*%d\r\n" % count, *map(word, words), *itertools.chain(*more)])


def word(value: bytes) -> bytes:
    """One word of a command."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as refusal:
        return refusal
