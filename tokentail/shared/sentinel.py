"""Where the primary is, by what its sentinels say: asked when a connection is made, and watched while there
are any.

Watching is what a planned failover, or one away from a frozen server, takes. Redis sends the clients of a
former primary away only when it demotes it, and sentinels do that some ten seconds after they have made
another one: until then it takes writes that will be forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

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

#: How often the sentinels are asked while nothing is wrong. They take about a second themselves to tell each
#: other of a failover, so more often would not shorten much what a former primary may be told in vain.
WATCH_SECONDS = 0.5

#: What is left of those asked once a majority has answered: one that is merely a moment later than most need
#: not be connected to anew the next time.
LINGER_SECONDS = 0.05

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
    def parse(cls, master: Sequence[bytes], address: Sequence[bytes]) -> Opinion:
        """From the answers to SENTINEL MASTER, a list of names and values, and GET-MASTER-ADDR-BY-NAME.

        While a sentinel makes another server the primary, the first already has the failover's epoch but
        still the old address, and tells of the old server whether it is down.
        """
        told = {master[i].decode(): master[i + 1].decode() for i in range(0, len(master), 2)}
        now = Address(address[0].decode(), int(address[1]))
        is_down = bool({"s_down", "o_down"} & set(told["flags"].split(",")))
        return cls(now, int(told["config-epoch"]), is_down and now == (told["ip"], int(told["port"])))


def choose(
    name: str, answers: Sequence[Opinion | RedisError], *, asked: int, known_epoch: int = 0
) -> Opinion:
    """Whom to believe. Raises NoPrimary.

    A sentinel that was cut off, or slept, names the old primary in good faith: the newest epoch counts. Any
    two majorities have a sentinel in common, so one of a majority knows of the newest failover. Fewer are
    believed unless they tell less than was known before (`known_epoch`).
    """
    opinions = [answer for answer in answers if isinstance(answer, Opinion)]
    if not opinions:
        raise _nobody(name, answers, asked)
    newest = max(opinion.epoch for opinion in opinions)
    if newest < known_epoch and len(opinions) <= asked / 2:
        raise NoPrimary("Most sentinels of Redis are away, and the others have missed a failover.")
    for opinion in opinions:
        if opinion.epoch == newest and not opinion.is_down:
            return opinion
    # Connecting would only cost the time until it fails; a new one will be named in a moment.
    raise NoPrimary("The primary of Redis is down, and its sentinels have not chosen another yet.")


def _nobody(name: str, answers: Sequence[Opinion | RedisError], asked: int) -> NoPrimary:
    """Why none of these answers helps."""
    if sum(bool(_UNKNOWN.search(str(answer))) for answer in answers) > asked / 2:
        return UnknownPrimary(f"The sentinels of Redis know no primary called {name!r}.")
    if any(not isinstance(answer, NoPrimary) for answer in answers):
        return NoPrimary("The sentinels of Redis refuse to tell where the primary is.")
    return NoPrimary("No sentinel of Redis answers.")


class Sentinel:
    """One sentinel, asked over a connection that is kept. Not by two at once."""

    def __init__(self, url: SentinelUrl, address: Address) -> None:
        self._name = url.primary
        options: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "lib_name": None,
            "lib_version": None,
            **url.sentinel_credentials,
            **url.hosts.tls_options,
        }
        self._connection = (SSLConnection if url.hosts.is_tls else Connection)(**options)

    async def ask(self) -> Opinion | RedisError:
        """What it says; NoPrimary if it does not answer, another error if it refuses to."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._ask()
        except (ResponseError, driver.AuthenticationError) as refusal:
            return RedisError(str(refusal))
        except (RedisError, OSError) as error:
            await self.close()
            return NoPrimary(str(error))

    async def _ask(self) -> Opinion:
        await self._connection.connect()  # type: ignore[no-untyped-call]
        # The address last: should a failover get in between, it is newer than its epoch, not older.
        questions = [("SENTINEL", "MASTER", self._name), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)]
        await self._connection.send_packed_command(
            self._connection.pack_commands(questions), check_health=False
        )
        # Both, for a connection on which an answer is left must not be asked again.
        answers = [await self._answer() for _ in questions]
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return Opinion.parse(*answers)

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as refusal:
            return refusal

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.disconnect(nowait=True)


class Member(Protocol):
    """A connection to the primary, as its sentinels' watch sees it."""

    @property
    def met(self) -> Address:
        """Where it met the primary."""

    async def disconnect(self, nowait: bool = False) -> None:
        """End it."""


class Sentinels:
    """Those who know where one primary is, and the connections that were made on their word.

    A connection joins when it has met the primary and leaves when it ends. As long as there are any, the
    sentinels are watched, and connections to a former primary ended, whatever they are waiting for there.
    """

    def __init__(self, url: SentinelUrl) -> None:
        self._name = url.primary
        self._sentinels = [Sentinel(url, address) for address in url.hosts.addresses]
        self._answer: Opinion | NoPrimary = NoPrimary("Nobody has asked yet.")
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        #: The highest epoch that anybody told.
        self._epoch = 0
        self._members: WeakSet[Member] = WeakSet()
        self._watching: asyncio.Task[None] | None = None

    async def primary(self) -> Opinion:
        """Where the primary is now. Raises NoPrimary."""
        async with self._asking:
            if time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._answer = await self._ask_all()
                self._asked_at = time.monotonic()
        if isinstance(self._answer, NoPrimary):
            raise type(self._answer)(*self._answer.args)
        self._epoch = self._answer.epoch
        await self._dismiss(self._answer)
        return self._answer

    async def _ask_all(self) -> Opinion | NoPrimary:
        asking = [asyncio.create_task(sentinel.ask()) for sentinel in self._sentinels]
        answers: list[Opinion | RedisError] = []
        waiting = set(asking)
        try:
            while waiting:
                enough = sum(isinstance(answer, Opinion) for answer in answers) > len(asking) / 2
                patience = LINGER_SECONDS if enough else None
                done, waiting = await asyncio.wait(
                    waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                answers += [task.result() for task in done]
                if not done:
                    break
            return choose(self._name, answers, asked=len(asking), known_epoch=self._epoch)
        except NoPrimary as nowhere:
            return nowhere
        finally:
            await tasks.end(*asking)

    def join(self, member: Member) -> None:
        """A connection has met the primary."""
        self._members.add(member)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def leave(self, member: Member) -> None:
        """A connection has ended. The last one's end is that of the watch, too."""
        self._members.discard(member)
        if self._members:
            return
        # The watch itself may have ended that connection; then it sees that nobody is left.
        if self._watching is not None and self._watching is not asyncio.current_task():
            watching, self._watching = self._watching, None
            await tasks.end(watching)
        for sentinel in [] if self._members else self._sentinels:
            await sentinel.close()

    async def _watch(self) -> None:
        while self._members:
            await asyncio.sleep(WATCH_SECONDS)
            # Should nobody know better, those who are connected are no worse off for it.
            with contextlib.suppress(NoPrimary):
                await self.primary()

    async def _dismiss(self, newest: Opinion) -> None:
        """End the connections to those that led before."""
        for member in list(self._members):
            if member.met != newest.address:
                await member.disconnect(nowait=True)
