"""Where the primary is, by what its sentinels say: asked when a connection is made, and watched while there
are any.

Watching is what a planned failover, or one away from a frozen server, takes. Redis sends the clients of a
former primary away only when it demotes it, and sentinels do that some ten seconds after they have made
another one: until then it takes writes that will be forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Protocol
from weakref import WeakSet

from redis import exceptions as driver
from redis.asyncio import Connection, SSLConnection
from redis.exceptions import RedisError, ResponseError

from tokentail.shared import tasks
from tokentail.shared.opinion import Leaving, NoPrimary, Opinion, choose
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
        try:
            return Opinion.parse(*answers)
        except (TypeError, KeyError, ValueError):
            raise NoPrimary("A sentinel of Redis is just forgetting its primary.") from None

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
    def address(self) -> Address:
        """Where it leads."""

    async def disconnect(self, nowait: bool = False) -> None:
        """End it."""


class Sentinels:
    """Those who know where one primary is, and the connections that were made on their word.

    A connection joins when it sets out and leaves when it ends. As long as there are any, the sentinels are
    watched, and connections to a former primary ended, whatever they are waiting for there.
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
        answer = self._answer
        if isinstance(answer, Leaving):
            await self._dismiss_all_but(None)
        if isinstance(answer, NoPrimary):
            raise type(answer)(*answer.args)
        self._epoch = answer.epoch
        await self._dismiss_all_but(answer.address)
        return answer

    def is_named(self, address: Address) -> bool:
        """Whether it is the primary by the newest answer, whoever got it."""
        return isinstance(self._answer, Opinion) and self._answer.address == address

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
        """A connection sets out for where the primary is."""
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

    async def _dismiss_all_but(self, primary: Address | None) -> None:
        """End the connections that lead, or are about to lead, elsewhere."""
        for member in list(self._members):
            if member.address != primary:
                await member.disconnect(nowait=True)
