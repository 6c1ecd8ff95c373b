"""Reading from a Redis that says what has changed meanwhile.

A read over many logs costs Redis some 2 µs for each, whether it brings something or not. Over a thousand that
were written to ten times a second, 200 reads a second took 40 % of its core for one API process, and blocking
on all of them no less. Told which of the logs that it has read have changed (CLIENT TRACKING), a process
reads those only: what it costs grows with what is written, not with what is followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import PushNotification
from redis.asyncio import Connection
from redis.exceptions import NoPermissionError, ResponseError

from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.errors import ConfigError
from tokentail.shared.exchange import packed

#: Which version of the protocol it takes: the older one has no messages that nobody asked for.
PROTOCOL = 3


class Tracking:
    """One connection, which speaks PROTOCOL and belongs to this object from now on.

    `heard` is told the keys of a question that have changed since it was answered, each once until it is
    asked for again; None when any may have, which is also said when the connection ends. One question at a
    time.
    """

    def __init__(self, connection: Connection, heard: Callable[[Sequence[bytes] | None], None]) -> None:
        self._connection = connection
        self._heard = heard
        self._listening: asyncio.Task[None] | None = None
        self._replies: list[Any] = []
        self._wanted = 0
        self._answer: asyncio.Future[list[Any]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._listening is not None and not self._listening.done()

    async def open(self) -> None:
        """Connect, and hear of changes from now on. Raises what the driver raises, and TimeoutError."""
        async with asyncio.timeout(store.SOCKET_TIMEOUT_SECONDS):
            await self._connection.connect()  # type: ignore[no-untyped-call]
        self._listening = asyncio.create_task(self._listen())
        (answer,) = await self.ask(packed([b"CLIENT", b"TRACKING", b"ON"]))
        if isinstance(answer, ResponseError):
            raise answer

    async def ask(self, commands: bytes, count: int = 1) -> list[Any]:
        """The replies to so many commands, refusals among them. Raises what means that there will be none;
        then it is to be closed, for they may still be on their way."""
        if not self.is_open:
            raise ConnectionError("The connection has ended.")
        self._replies, self._wanted = [], count
        self._answer = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(store.SOCKET_TIMEOUT_SECONDS):
            await self._connection.send_packed_command([commands], check_health=False)
            return await self._answer

    async def close(self) -> None:
        """End it. Any number of times."""
        if self._listening is not None:
            await tasks.end(self._listening)
        await self._connection.disconnect(nowait=True)

    async def _listen(self) -> None:
        try:
            while True:
                try:
                    said = await self._connection.read_response(disable_decoding=True)
                except ResponseError as refusal:
                    said = refusal
                if isinstance(said, PushNotification):
                    self._heard(said[1])
                else:
                    self._take(said)
        except Exception as error:
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(error)
                self._answer.exception()  # Where sending failed, too, nobody waits for it.
        finally:
            self._heard(None)

    def _take(self, reply: Any) -> None:
        self._replies.append(reply)
        if len(self._replies) == self._wanted and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._replies)


async def check(plane: DataPlane) -> None:
    """Make sure that we may be told of changes. Raises ConfigError, and StoreUnavailable if nobody can be
    asked."""
    for client in await plane.primaries():
        try:
            with store.away_is_unavailable():
                await client.execute_command("CLIENT TRACKING", "OFF")  # type: ignore[no-untyped-call]
        except NoPermissionError:
            raise ConfigError(
                "The user of the logs' Redis may not be told what changes there; it needs +client|tracking."
            ) from None
