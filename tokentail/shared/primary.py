"""Connections that lead to the primary behind sentinels, wherever that is when they are made."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from redis import exceptions as driver
from redis.asyncio import Connection, SSLConnection

from tokentail.shared.sentinel import NoPrimary, Opinion, Sentinels

#: What a server says that is no primary any more, or one that its replicas have left: time to ask anew.
#: Redis 6.2 puts a sentence before a script's error.
_LEFT_BEHIND = re.compile(r"(?:^|: -)(?:READONLY|NOREPLICAS|MASTERDOWN|UNBLOCKED) ")


class PrimaryConnection(Connection):
    """A connection that is to a primary or ends, so that its user connects again to the next one.

    It ends by itself when the server dies or hangs, when the sentinels name another primary, and when the
    server says that it is none.
    """

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels
        #: The sentinels' word by which it was made.
        self.met: Opinion

    async def connect(self) -> None:
        """Connect to the primary, unless connected. Raises NoPrimary, and what the driver raises."""
        if not self.is_connected:
            self.met = await self._sentinels.primary()
            self.host, self.port = self.met.address
            await super().connect()  # type: ignore[no-untyped-call]

    async def on_connect(self) -> None:
        """Introduce ourselves, and make sure that this is a primary. Raises NoPrimary."""
        # A frozen server takes connections; how long its user waits for an answer is another matter.
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                await super().on_connect()
                role = await self._role()
        except TimeoutError:
            raise driver.TimeoutError("The primary of Redis does not answer.") from None
        if role != b"master":
            raise NoPrimary("What the sentinels of Redis call the primary is a replica.")
        self._sentinels.join(self)

    async def _role(self) -> Any:
        await self.send_command("ROLE", check_health=False)
        try:
            return (await self.read_response(disable_decoding=True))[0]
        except driver.NoPermissionError:
            return b"master"  # For a user who may not ask, the first write will tell.

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """An answer. One that only a former primary gives ends the connection: it would go on giving it."""
        try:
            return await super().read_response(*args, **options)
        except driver.ResponseError as error:
            if isinstance(error, driver.ReadOnlyError) or _LEFT_BEHIND.search(str(error)):
                await self.disconnect(nowait=True)
            raise

    async def disconnect(self, nowait: bool = False) -> None:
        """End it."""
        try:
            await super().disconnect(nowait)
        finally:
            await self._sentinels.leave(self)


class TlsPrimaryConnection(PrimaryConnection, SSLConnection):
    """The same, encrypted."""
