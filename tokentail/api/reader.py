"""The one reader of all watched logs of a partition.

On one server there is one partition. A cluster can't join logs of different partitions in a read, so there
is a reader for each, with a connection while somebody watches a log there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import ResponseError

from tokentail.api.migration import means_migration, read_singly
from tokentail.api.outages import Hindrance
from tokentail.api.tail import Tail
from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import PAGE, Entry
from tokentail.shared.slots import redirection

#: At most two reads begin within this time: a read costs Redis ~0.7 µs for each watched log, so under load
#: it should bring more than one entry. Two, because after a silence the first brings an attempt's beginning
#: and the second its first delta, which must not wait.
TICK_SECONDS = 0.005

#: Between two tries to reach a reader that is just about to block.
_NUDGE_SECONDS = 0.001

#: A connection is kept for this long after the last watched log: the next one is likely to come, but a
#: cluster has many partitions and other users of its connections.
IDLE_SECONDS = 60.0

#: Between two reads while logs move to another node, for nothing can block on two nodes.
MIGRATION_SECONDS = 0.02


class Reader:
    """Reads the logs of `tails` (by key) into them; whoever changes that calls `look`. `run` it as a task."""

    def __init__(self, plane: DataPlane) -> None:
        self.tails: dict[bytes, Tail] = {}
        self._plane = plane
        # A connection of its own: a blocking read blocks everything behind it.
        self._connection: Connection | None = None
        self._node = ""
        self._client_id = 0
        self._hindrance = Hindrance("read logs")
        self._watched = asyncio.Event()
        self._blocked = False
        self._nudging: asyncio.Task[None] | None = None

    @property
    def _is_asked(self) -> bool:
        """Whether a follower needs to know what is there now."""
        return any(not (tail.is_loaded or tail.is_over) for tail in self.tails.values())

    async def run(self) -> None:
        """Read for ever; ends by cancellation. An error never loses a follower: every tail knows where it
        stands, and reading goes on from there."""
        loop = asyncio.get_running_loop()
        pause = store.AWAY_SECONDS
        before = began = 0.0
        try:
            while True:
                await self._until_watched()
                before, began = began, loop.time()
                try:
                    found = await self._read()
                    self._hindrance.over()
                    pause = store.AWAY_SECONDS
                except StoreUnavailable as error:
                    if not isinstance(error, _Moved):
                        self._hindrance.met(error)
                        self._plane.doubt(self._node)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, store.AWAY_LIMIT_SECONDS)
                    continue
                if found and (wait := before + TICK_SECONDS - loop.time()) > 0:
                    await asyncio.sleep(wait)
        finally:
            await self._disconnect()

    async def _until_watched(self) -> None:
        if not self._watched.is_set() and self._connection is not None:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._watched.wait()
            except TimeoutError:
                await self._disconnect()
        await self._watched.wait()

    async def _read(self) -> bool:
        """Read all tails, and wait for something only if no follower needs to know what is there now.
        Returns whether anything came."""
        waiting = {key: tail for key, tail in self.tails.items() if not tail.is_over}
        if not waiting:
            self._watched.clear()
            return False
        try:
            with store.away_is_unavailable():
                return await self._read_some(waiting)
        except BaseException as error:
            # An answer may still be on its way; it must not be taken for another question's.
            await self._disconnect()
            if isinstance(error, ResponseError) and (led := redirection(error, self._node)) is not None:
                self._plane.learn(led)
                raise _Moved(led.node) from None
            raise

    async def _read_some(self, tails: dict[bytes, Tail]) -> bool:
        connection = await self._connect(tails)
        asked = {key: tail.asked for key, tail in tails.items()}
        positions = {key: str(tail.position) for key, tail in tails.items()}
        try:
            answer = await self._ask(connection, positions, block=not self._is_asked)
        except ResponseError as refusal:
            if not means_migration(refusal):
                raise
            answer = await read_singly(self._plane, self._node, connection, positions)
            found = self._take(answer, tails, asked)
            await asyncio.sleep(MIGRATION_SECONDS)
            return found
        return self._take(answer, tails, asked)

    async def _connect(self, keys: Iterable[bytes]) -> Connection:
        if self._connection is None or not self._connection.is_connected:
            self._node = await self._plane.locate(next(iter(keys)).decode())
            self._connection = self._plane.connection(
                self._node, timeout_seconds=store.SOCKET_TIMEOUT_SECONDS
            )
            await self._connection.connect()  # type: ignore[no-untyped-call]
            self._client_id = await self._command(self._connection, "CLIENT", "ID")
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _command(self, connection: Connection, *words: Any) -> Any:
        await connection.send_command(*words, check_health=False)
        return await connection.read_response(disable_decoding=True)

    async def _ask(self, connection: Connection, positions: dict[bytes, str], *, block: bool) -> Any:
        wait = ("BLOCK", int(store.BLOCK_SECONDS * 1000)) if block else ()
        self._blocked = block
        try:
            return await self._command(
                connection, "XREAD", "COUNT", PAGE, *wait, "STREAMS", *positions, *positions.values()
            )
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

    def look(self) -> None:
        """A tail is new, or a follower needs to know what is there now."""
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
                    await self._plane.client(self._node).client_unblock(self._client_id)
            except StoreUnavailable:
                return  # Then the read fails too, or ends by itself within BLOCK_SECONDS.
            await asyncio.sleep(_NUDGE_SECONDS)


class _Moved(StoreUnavailable):
    """The logs of a partition are on another node now."""
