"""The watched logs of this process and their one reader.

Whatever the number of followers, Redis sees one blocking read over all watched logs. Replay and live are
that same read, so there is no hand-over between them in which an entry could be lost or doubled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from redis.asyncio import ConnectionPool, Redis

from tokentail.api.tail import Follower, Tail
from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import PAGE, Entry

logger = structlog.get_logger()

#: At most two reads begin within this time: a read costs Redis ~0.7 µs for each watched log, so under load
#: it should bring more than one entry. Two, because after a silence the first brings an attempt's beginning
#: and the second its first delta, which must not wait.
TICK_SECONDS = 0.005

#: Between two tries to reach a reader that is just about to block.
_NUDGE_SECONDS = 0.001


class Tails:
    """Follow logs; `run` the reader as a task.

    Invariant: a tail is in `_tails` exactly as long as it has followers.
    """

    def __init__(self, pool: ConnectionPool, commands: Redis) -> None:
        # A connection of its own: a blocking read blocks everything behind it.
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._client_id = 0
        self._commands = commands
        self._tails: dict[bytes, Tail] = {}
        self._watched = asyncio.Event()
        self._blocked = False
        self._nudging: asyncio.Task[None] | None = None

    def follow(self, job_id: str, after: Cursor, abort: Callable[[], None]) -> Follower:
        """A new follower of a log; every one has to `leave`. `abort` drops its connection at once."""
        key = keys.log(job_id).encode()
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = Tail(job_id)
            tail.heard_at = asyncio.get_running_loop().time()
            self._look()
        elif not tail.is_over and (not tail.frames or tail.index_after(after) is None):
            # What it has seen, in another process or in a GET, or knows to be there may be unread here yet.
            tail.asked += 1
            self._look()
        follower = Follower(tail, after, abort)
        tail.followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """A follower has gone. The last one's tail is no longer watched."""
        tail = follower.tail
        tail.followers.discard(follower)
        if not tail.followers:
            self._tails.pop(keys.log(tail.job_id).encode(), None)

    def all(self) -> list[Tail]:
        """Every watched log."""
        return list(self._tails.values())

    @property
    def _is_asked(self) -> bool:
        """Whether a follower needs to know what is there now."""
        return any(not (tail.is_loaded or tail.is_over) for tail in self._tails.values())

    # Reading

    async def run(self) -> None:
        """Read for ever; ends by cancellation. An error never loses a follower: every tail knows where it
        stands, and reading goes on from there."""
        loop = asyncio.get_running_loop()
        pause = store.AWAY_SECONDS
        before = began = 0.0
        try:
            while True:
                await self._watched.wait()
                before, began = began, loop.time()
                try:
                    found = await self._read()
                    pause = store.AWAY_SECONDS
                except StoreUnavailable:
                    logger.warning("the logs can't be read", retry_seconds=pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, store.AWAY_LIMIT_SECONDS)
                    continue
                if found and (wait := before + TICK_SECONDS - loop.time()) > 0:
                    await asyncio.sleep(wait)
        finally:
            await self._connection.disconnect(nowait=True)

    async def _read(self) -> bool:
        """Read all tails, and wait for something only if no follower needs to know what is there now.
        Returns whether anything came."""
        waiting = {key: tail for key, tail in self._tails.items() if not tail.is_over}
        if not waiting:
            self._watched.clear()
            return False
        try:
            with store.away_is_unavailable():
                await self._connect()
                asked = {key: tail.asked for key, tail in waiting.items()}
                return self._take(await self._ask(waiting, block=not self._is_asked), waiting, asked)
        except BaseException:
            # An answer may still be on its way; it must not be taken for another question's.
            await self._connection.disconnect(nowait=True)
            raise

    async def _connect(self) -> None:
        if not self._connection.is_connected:
            await self._connection.connect()
            self._client_id = await self._command("CLIENT", "ID")

    async def _command(self, *words: Any) -> Any:
        await self._connection.send_command(*words, check_health=False)
        return await self._connection.read_response(disable_decoding=True)

    async def _ask(self, tails: dict[bytes, Tail], *, block: bool) -> Any:
        positions = [str(tail.position) for tail in tails.values()]
        wait = ("BLOCK", int(store.BLOCK_SECONDS * 1000)) if block else ()
        self._blocked = block
        try:
            return await self._command("XREAD", "COUNT", PAGE, *wait, "STREAMS", *tails, *positions)
        finally:
            self._blocked = False

    def _take(self, answer: Any, tails: dict[bytes, Tail], asked: dict[bytes, int]) -> bool:
        now = asyncio.get_running_loop().time()
        counts = dict.fromkeys(tails, 0)
        for key, entries in answer or ():
            tail = tails[key]
            counts[key] = len(entries)
            tail.heard_at = now
            for entry_id, fields in entries:
                tail.add(Entry(Cursor.parse(entry_id), fields[1]))
        for key, tail in tails.items():
            answers = tail.answered < asked[key] and counts[key] < PAGE
            if answers:
                tail.answered = asked[key]
            if counts[key] or answers:
                tail.wake()
        return bool(answer)

    # Waking a blocked reader

    def _look(self) -> None:
        self._watched.set()
        if self._blocked and (self._nudging is None or self._nudging.done()):
            self._nudging = asyncio.get_running_loop().create_task(self._unblock())

    async def _unblock(self) -> None:
        """End the read that is under way, so that the next one includes a new tail. Repeated until it has:
        the read may be sent but not yet block, and Redis then has nothing to unblock. A read that blocks
        while nobody asks is a later one, and left alone."""
        while self._blocked and self._is_asked:
            try:
                with store.away_is_unavailable():
                    await self._commands.client_unblock(self._client_id)
            except StoreUnavailable:
                return  # Then the read fails too, or ends by itself within BLOCK_SECONDS.
            await asyncio.sleep(_NUDGE_SECONDS)
