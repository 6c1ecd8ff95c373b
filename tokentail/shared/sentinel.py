"""Connections to a primary that sentinels look after: each finds out where it is when it is made.

After a failover a connection leads to a server that is dead, frozen or a replica. The first two end by
themselves (a reset, a timeout), the third when it refuses to write. Whatever made it end, the next one
asks the sentinels again, so nothing has to be told of a failover, and nothing restarted.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import exceptions as driver
from redis.asyncio import Connection, SSLConnection
from redis.exceptions import RedisError, ResponseError

from tokentail.shared import tasks
from tokentail.shared.redis_url import Address, SentinelUrl

#: A sentinel answers from its memory; one that takes longer is away. It delays us only while most are.
ASK_SECONDS = 1.0

#: An answer is good for this long. While a primary is away everybody reconnects all the time, and the
#: sentinels have more important things to do than to tell each connection the same.
FRESH_SECONDS = 0.1

#: What a server says that is no primary any more, or one that its replicas have left: time to ask anew.
#: Redis 6.2 puts a sentence before a script's error.
_LEFT_BEHIND = re.compile(r"(?:^|: -)(?:READONLY|NOREPLICAS|MASTERDOWN|UNBLOCKED) ")

_UNKNOWN = re.compile("No such (?:master|primary)")


class NoPrimary(driver.ConnectionError):
    """There is no primary to connect to just now. Its text is a sentence for an operator."""


class UnknownPrimary(NoPrimary):
    """Most sentinels answer, and know no primary by this name: the URL is wrong, or it is too early."""


@dataclass(frozen=True)
class Opinion:
    """What one sentinel says of the primary. Each failover has a higher epoch than the one before."""

    address: Address
    epoch: int
    is_down: bool

    @classmethod
    def parse(cls, answer: Sequence[bytes]) -> Opinion:
        """From the answer to SENTINEL MASTER, a list of names and values."""
        told = {answer[i].decode(): answer[i + 1].decode() for i in range(0, len(answer), 2)}
        flags = told["flags"].split(",")
        return cls(
            Address(told["ip"], int(told["port"])),
            int(told["config-epoch"]),
            # A failover under way leaves the old primary as "master" until the new one has been made.
            "s_down" in flags or "o_down" in flags,
        )


def choose(name: str, answers: Sequence[Opinion | RedisError], *, asked: int) -> Address:
    """Where the primary is by what its sentinels say. Raises NoPrimary.

    A sentinel that was cut off, or slept, names the old primary in good faith: the newest epoch counts.
    """
    opinions = [answer for answer in answers if isinstance(answer, Opinion)]
    if not opinions:
        if sum(bool(_UNKNOWN.search(str(answer))) for answer in answers) > asked / 2:
            raise UnknownPrimary(f"The sentinels of Redis know no primary called {name!r}.")
        if any(not isinstance(answer, NoPrimary) for answer in answers):
            raise NoPrimary("The sentinels of Redis refuse to tell where the primary is.")
        raise NoPrimary("No sentinel of Redis answers.")
    newest = max(opinion.epoch for opinion in opinions)
    for opinion in opinions:
        if opinion.epoch == newest and not opinion.is_down:
            return opinion.address
    # Connecting would only cost the time until it fails; a new one will be named in a moment.
    raise NoPrimary("The primary of Redis is down, and its sentinels have not chosen another yet.")


class Sentinels:
    """Those who know where one primary is."""

    def __init__(self, url: SentinelUrl) -> None:
        self._url = url
        #: Where a connection has last met the primary.
        self.current: Address | None = None
        self._answer: Address | NoPrimary = NoPrimary("nobody has asked yet")
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def primary(self) -> Address:
        """Where the primary is now. Raises NoPrimary."""
        async with self._asking:
            if time.monotonic() - self._asked_at > FRESH_SECONDS:
                try:
                    self._answer = await self._ask_all()
                except NoPrimary as nowhere:
                    self._answer = nowhere
                self._asked_at = time.monotonic()
        if isinstance(self._answer, NoPrimary):
            raise type(self._answer)(*self._answer.args)
        return self._answer

    async def _ask_all(self) -> Address:
        addresses = self._url.hosts.addresses
        asking = [asyncio.create_task(self._ask(address)) for address in addresses]
        answers: list[Opinion | RedisError] = []
        try:
            for one in asyncio.as_completed(asking):
                answers.append(await one)
                # Any two majorities share a sentinel, so one of these knows of the newest failover.
                if sum(isinstance(answer, Opinion) for answer in answers) > len(addresses) / 2:
                    break
        finally:
            await tasks.end(*asking)
        return choose(self._url.primary, answers, asked=len(addresses))

    async def _ask(self, address: Address) -> Opinion | RedisError:
        connection = self._connection_to(address)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("SENTINEL", "MASTER", self._url.primary, check_health=False)
                return Opinion.parse(await connection.read_response(disable_decoding=True))
        except (ResponseError, driver.AuthenticationError) as refusal:
            return RedisError(str(refusal))
        except (RedisError, OSError) as error:
            return NoPrimary(str(error))
        finally:
            await connection.disconnect(nowait=True)

    def _connection_to(self, address: Address) -> Connection:
        hosts = self._url.hosts
        options: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "lib_name": None,
            "lib_version": None,
            **self._url.sentinel_credentials,
            **hosts.tls_options,
        }
        return (SSLConnection if hosts.is_tls else Connection)(**options)


class PrimaryConnection(Connection):
    """A connection that leads to the primary, wherever that is when it is made."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels

    async def connect(self) -> None:
        """Connect to the primary; does nothing while connected to it, as far as is known.

        Raises NoPrimary, and what the driver raises.
        """
        if self.is_connected:
            if (self.host, self.port) == self._sentinels.current:
                return
            await self.disconnect(nowait=True)  # Another connection has heard of a failover.
        self.host, self.port = await self._sentinels.primary()
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
        self._sentinels.current = Address(self.host, self.port)

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
        except ResponseError as error:
            if isinstance(error, driver.ReadOnlyError) or _LEFT_BEHIND.search(str(error)):
                await self.disconnect(nowait=True)
            raise


class TlsPrimaryConnection(PrimaryConnection, SSLConnection):
    """The same, encrypted."""
