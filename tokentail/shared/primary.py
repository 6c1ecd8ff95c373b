"""Connections that lead to the primary behind sentinels, wherever that is when they are made."""

from __future__ import annotations

import asyncio
from typing import Any

from redis import exceptions as driver
from redis.asyncio import Connection, SSLConnection

from tokentail.shared.opinion import NoPrimary
from tokentail.shared.redis_url import Address
from tokentail.shared.sentinel import Sentinels


class PrimaryConnection(Connection):
    """A connection that is to the primary or ends, so that its user connects again to the next one.

    It ends when the server dies or hangs, as any connection, and when the sentinels name another primary.
    """

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels

    @property
    def address(self) -> Address:
        """Where it leads."""
        return Address(self.host, self.port)

    async def connect(self) -> None:
        """Connect to the primary, unless connected. Raises NoPrimary, and what the driver raises."""
        if self.is_connected:
            return
        self.host, self.port = (await self._sentinels.primary()).address
        self._sentinels.join(self)
        try:
            await super().connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await self._sentinels.leave(self)
            raise

    async def on_connect(self) -> None:
        """Introduce ourselves, and make sure that this is the primary. Raises NoPrimary."""
        # A frozen server takes connections; how long its user waits for an answer is another matter.
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                await super().on_connect()
                role = await self._role()
        except TimeoutError:
            raise driver.TimeoutError("The primary of Redis does not answer.") from None
        # One that froze, or that sentinels still have to demote, thinks that it leads.
        if role != b"master" or not self._sentinels.is_named(self.address):
            raise NoPrimary("What the sentinels of Redis called the primary is none any more.")
        self._sentinels.join(self)  # Who was called away before there was a connection has left.

    async def _role(self) -> Any:
        await self.send_command("ROLE", check_health=False)
        try:
            return (await self.read_response(disable_decoding=True))[0]
        except driver.NoPermissionError:
            return b"master"  # For a user who may not ask, the first write will tell.

    async def disconnect(self, nowait: bool = False) -> None:
        """End it."""
        try:
            await super().disconnect(nowait)
        finally:
            await self._sentinels.leave(self)


class TlsPrimaryConnection(PrimaryConnection, SSLConnection):
    """The same, encrypted."""
