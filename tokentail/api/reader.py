"""The one reader of all watched logs of a partition.

On one server there is one partition. A cluster can't join logs of different partitions in a read, so there
is a reader for each, with a connection while somebody watches a log there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import ResponseError

from tokentail.api.migration import means_migration, read_singly
from tokentail.api.outages import Hindrance
from tokentail.api.pacing import Pacing
from tokentail.api.tail import Tail
from tokentail.shared import redis as store
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.exchange import packed
from tokentail.shared.log import PAGE
from tokentail.shared.slots import redirection

#: Entries that one read may bring, of all logs together: after an outage that is seconds of each, and what
#: is decoded and written at once holds everybody else up.
READ_ENTRIES = 10_000
#: And of one log at least, whatever the number of logs.
LEAST_ENTRIES = 20

#: Between two tries to reach a reader that is just about to block.
_NUDGE_SECONDS = 0.001

#: A connection is kept for this long after the last watched log: the next one is likely to come, but a
#: cluster has many partitions and other users of its connections.
IDLE_SECONDS = 60.0

#: Between two reads while logs move to another node, for nothing can block on two nodes.
MIGRATION_SECONDS = 0.02


class Reader:
    """Reads logs into their tails, from when they are watched to their ending. `run` it as a task.

    `took` is called after each read with how much more the tails hold.
    """

    def __init__(self, plane: DataPlane, took: Callable[[int], None]) -> None:
        self._plane = plane
        self._took = took
        #: By key; those that are over are not read.
        self._tails: dict[bytes, Tail] = {}
        # A connection of its own: a blocking read blocks everything behind it.
        self._connection: Connection | None = None
        self._node = ""
        self._client_id = 0
        self._hindrance = Hindrance("read logs")
        self._pacing = Pacing()
        self._watched = asyncio.Event()
        self._blocked = False
        self._nudging: asyncio.Task[None] | None = None

    @property
    def _is_asked(self) -> bool:
        """Whether a follower needs to know what is there now."""
        return any(not tail.is_loaded for tail in self._tails.values())

    def watches(self, tail: Tail) -> bool:
        """Whether it is read."""
        return self._tails.get(tail.key) is tail

    def watch(self, tail: Tail) -> None:
        """Read a log from where its tail stands, soon: somebody needs to know what is there now."""
        self._tails[tail.key] = tail
        self.look()

    def unwatch(self, tail: Tail) -> None:
        """Read it no longer."""
        if self._tails.get(tail.key) is tail:
            del self._tails[tail.key]

    async def run(self) -> None:
        """Read for ever; ends by cancellation. An error never loses a follower: every tail knows where it
        stands, and reading goes on from there."""
        loop = asyncio.get_running_loop()
        pauses = store.Pauses()
        before = began = 0.0
        try:
            while True:
                await self._until_watched()
                before, began = began, loop.time()
                try:
                    found = await self._read()
                    self._hindrance.over()
                    pauses.over()
                except StoreUnavailable as error:
                    if not isinstance(error, _Moved):
                        self._hindrance.met(error)
                        self._plane.doubt(self._node)
                    await pauses.sleep()
                    continue
                # At most two reads begin within a tick. Two, because after a silence the first brings an
                # attempt's beginning and the second its first delta, which must not wait.
                if found and (wait := before + self._pacing.tick_seconds - loop.time()) > 0:
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
        if not self._tails:
            self._watched.clear()
            return False
        try:
            with store.away_is_unavailable():
                return await self._read_some(dict(self._tails))
        except BaseException as error:
            # An answer may still be on its way; it must not be taken for another question's.
            await self._disconnect()
            if isinstance(error, ResponseError) and (led := redirection(error, self._node)) is not None:
                self._plane.learn(led)
                raise _Moved(led.node) from None
            raise

    async def _read_some(self, known: dict[bytes, Tail]) -> bool:
        tails = list(known.values())
        connection = await self._connect(tails[0].key)
        count = min(PAGE, max(LEAST_ENTRIES, READ_ENTRIES // len(tails)))
        asked = [(tail, tail.asked) for tail in tails if tail.asked != tail.answered]
        try:
            answer = await self._ask(connection, tails, count, block=not asked)
        except ResponseError as refusal:
            if not means_migration(refusal):
                raise
            positions = {tail.key: tail.position for tail in tails}
            answer = await read_singly(self._plane, self._node, connection, positions, count)
            self._take(answer, known, asked, count)
            await asyncio.sleep(MIGRATION_SECONDS)
            return bool(answer)
        self._take(answer, known, asked, count)
        return bool(answer)

    async def _connect(self, key: bytes) -> Connection:
        if self._connection is None or not self._connection.is_connected:
            self._node = await self._plane.locate(key.decode())
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

    async def _ask(self, connection: Connection, tails: list[Tail], count: int, *, block: bool) -> Any:
        wait = [b"BLOCK", b"%d" % (store.BLOCK_SECONDS * 1000)] if block else []
        words = [b"XREAD", b"COUNT", b"%d" % count, *wait, b"STREAMS"]
        keys, positions = [tail.key_word for tail in tails], [tail.position_word for tail in tails]
        self._blocked = block
        try:
            await connection.send_packed_command([packed(words, keys, positions)], check_health=False)
            return await connection.read_response(disable_decoding=True)
        finally:
            self._blocked = False

    def _take(self, answer: Any, known: dict[bytes, Tail], asked: list[tuple[Tail, int]], count: int) -> None:
        """Nothing here awaits: what followers are told is whole at every moment."""
        now = asyncio.get_running_loop().time()
        took = entries_taken = 0
        longer: set[Tail] = set()
        came: list[tuple[Tail, int]] = []
        for key, entries in answer or ():
            tail = known[key]
            if self._tails.get(key) is not tail:
                continue  # It was forgotten, and perhaps begun anew, while this was on its way.
            came.append((tail, tail.end))
            tail.heard_at = now
            for entry_id, (_, raw) in entries:
                took += tail.add(entry_id, raw)
            entries_taken += len(entries)
            if len(entries) == count:
                longer.add(tail)
            if tail.is_over:
                tail.left_at = now
                del self._tails[key]
        for tail, asking in asked:
            if tail not in longer:
                tail.answered = max(tail.answered, asking)
                came.append((tail, tail.end))
        for tail, since in came:
            tail.deliver(since)
        self._took(took)
        self._pacing.took(entries_taken, now)

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
