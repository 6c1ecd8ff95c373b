"""Writes that a failover does not forget: they return when replicas have them."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, ResponseError

from tokentail.shared import redis as store
from tokentail.shared.errors import StoreUnavailable

#: How long replicas may take to confirm a write. A healthy one takes a round trip; a client of the API waits
#: two seconds for Redis in all, and its answer must still get through.
WAIT_SECONDS = 1.0
#: Half of an API process's connections: while replicas are away, the other half goes on answering.
WAITING_AT_ONCE = 2

_TOO_FEW = "Too few replicas of Redis have confirmed it in time; try again in a moment."


class Script(Protocol):
    """A Lua script that can be run."""

    async def __call__(self, keys: list[str], args: list[Any]) -> Any:
        """Run it on these keys; its answer."""


class Durable:
    """Makes scripts that return only when N replicas have what they wrote.

    A failover, or the loss of the primary with its disk, then forgets nothing that such a script answered.
    With N = 0 they are plain scripts.
    """

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._turns = asyncio.Semaphore(WAITING_AT_ONCE)

    def script(self, redis: Redis, *names: str) -> Script:
        """The script that these files of `lua/` make. It raises StoreUnavailable if too few replicas confirm
        in time: what it did may be lost or not, and the caller does it again."""
        plain = store.script(redis, *names)

        async def run(keys: list[str], args: list[Any]) -> Any:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._turns.acquire()
            except TimeoutError:
                raise StoreUnavailable(_TOO_FEW) from None
            try:
                return await self._confirmed(redis, plain, keys, args)
            finally:
                self._turns.release()

        return run if self._replicas else plain

    async def _confirmed(self, redis: Redis, script: AsyncScript, keys: list[str], args: list[Any]) -> Any:
        try:
            answer, copies = await self._run_and_wait(redis, script.sha, keys, args)
        except NoScriptError:
            await redis.script_load(script.script)
            answer, copies = await self._run_and_wait(redis, script.sha, keys, args)
        if isinstance(copies, ResponseError) or copies < self._replicas:
            raise StoreUnavailable(_TOO_FEW)
        return answer

    async def _run_and_wait(
        self, redis: Redis, sha: str, keys: list[str], args: list[Any]
    ) -> tuple[Any, Any]:
        # One connection, for WAIT speaks of what came over its own; and one trip. It waits for all that the
        # primary has written so far, so also for what a script found there that an earlier call had written.
        pipe = redis.pipeline(transaction=False)
        pipe.evalsha(sha, len(keys), *keys, *args)
        pipe.execute_command("WAIT", self._replicas, int(WAIT_SECONDS * 1000))
        answer, copies = await pipe.execute(raise_on_error=False)
        if isinstance(answer, ResponseError):
            raise answer
        return answer, copies
