"""The one reader of all watched logs of a partition.

It reads those that Redis says have changed, and all of them now and then. On one server there is one
partition. A cluster can't join logs of different partitions in a read, so there is a reader for each, with a
connection while somebody watches a log there.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import ResponseError

from tokentail.api.migration import means_migration, read_singly
from tokentail.api.outages import Hindrance
from tokentail.api.tail import Tail
from tokentail.api.tracking import PROTOCOL, Tracking
from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
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

#: A connection is kept for this long after the last watched log: the next one is likely to come, but a
#: cluster has many partitions and other users of its connections.
IDLE_SECONDS = 60.0

#: Within which at most two reads begin: what a delta waits for at most, far below what a reader notices. What
#: comes meanwhile is read together, which costs Redis and us less.
TICK_SECONDS = 0.005

#: Between two reads of all watched logs, whether they are said to have changed or not. What was said may have
#: been lost with a server, and one that hangs says nothing: a read finds out.
LOOK_SECONDS = 1.0

#: Between two reads while logs move to another node: who is asked is not told what changes on the
#: other one.
MIGRATION_SECONDS = 0.02


class Reader:
    """Reads the logs of a partition into their tails, from when they are watched to their ending. `run` it as
    a task.

    `took` is called after each read with how much more the tails hold.
    """

    def __init__(self, plane: DataPlane, took: Callable[[int], None]) -> None:
        self._plane = plane
        self._took = took
        #: By key, one for each dialect; those that are over are not read.
        self._tails: dict[bytes, list[Tail]] = {}
        #: The keys of those that are to be read next.
        self._stale: set[bytes] = set()
        #: When (loop time) all were read.
        self._looked_at = -math.inf
        self._tracking: Tracking | None = None
        self._node = ""
        self._hindrance = Hindrance("read logs")
        #: When (loop time) the last two reads began.
        self._before = self._began = 0.0
        self._watched = asyncio.Event()
        self._news = asyncio.Event()

    def watches(self, tail: Tail) -> bool:
        """Whether it is read."""
        return tail in self._tails.get(tail.key, ())

    def watch(self, tail: Tail) -> None:
        """Read a log from where its tail stands, soon: somebody needs to know what is there now."""
        if not self.watches(tail):
            self._tails.setdefault(tail.key, []).append(tail)
        self._watched.set()
        self._changed([tail.key])

    def unwatch(self, tail: Tail) -> None:
        """Read it no longer."""
        if self.watches(tail):
            self._tails[tail.key].remove(tail)
            if not self._tails[tail.key]:
                del self._tails[tail.key]

    def _changed(self, keys: Iterable[bytes] | None) -> None:
        """Read these next, or all."""
        if keys is None:
            self._looked_at = -math.inf
            self._news.set()
        elif watched := self._tails.keys() & keys:
            self._stale |= watched
            self._news.set()

    async def run(self) -> None:
        """Read for ever; ends by cancellation. An error never loses a follower: every tail knows where it
        stands, and reading goes on from there."""
        loop = asyncio.get_running_loop()
        pauses = store.Pauses()
        try:
            while True:
                await self._until_watched()
                try:
                    found = await self._read_news()
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
                if found and (wait := self._before + TICK_SECONDS - loop.time()) > 0:
                    await asyncio.sleep(wait)
        finally:
            await self._disconnect()

    async def _until_watched(self) -> None:
        if not self._watched.is_set() and self._tracking is not None:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._watched.wait()
            except TimeoutError:
                await self._disconnect()
        await self._watched.wait()

    async def _read_news(self) -> bool:
        """Wait until something has changed, and read that. Returns whether anything came."""
        if not self._tails:
            self._watched.clear()
            return False
        try:
            with store.away_is_unavailable():
                tracking = await self._connected()
                await self._until_news()
                return await self._read(tracking)
        except BaseException as error:
            # An answer may still be on its way; it must not be taken for another question's.
            await self._disconnect()
            if isinstance(error, ResponseError) and (led := redirection(error, self._node)) is not None:
                self._plane.learn(led)
                raise _Moved(led.node) from None
            raise

    async def _connected(self) -> Tracking:
        if self._tracking is None:
            self._node = await self._plane.locate(next(iter(self._tails)).decode())
            connection = self._plane.connection(self._node, protocol=PROTOCOL)
            self._tracking = Tracking(connection, self._changed)
            await self._tracking.open()
            self._changed(None)
        return self._tracking

    async def _disconnect(self) -> None:
        tracking, self._tracking = self._tracking, None
        if tracking is not None:
            await tracking.close()

    async def _until_news(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(self._looked_at + LOOK_SECONDS):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()
        if loop.time() >= self._looked_at + LOOK_SECONDS:
            self._looked_at = loop.time()
            self._stale.update(self._tails)

    async def _read(self, tracking: Tracking) -> bool:
        """Read what has changed; what comes meanwhile is for the next time."""
        stale, self._stale = self._stale, set()
        known = {key: list(tails) for key in stale if (tails := self._tails.get(key)) is not None}
        if not known:
            return False
        self._before, self._began = self._began, asyncio.get_running_loop().time()
        # Where several stand at different places, the rearmost says from where on.
        rear = [tails[0] if len(tails) == 1 else min(tails, key=_place) for tails in known.values()]
        count = min(PAGE, max(LEAST_ENTRIES, READ_ENTRIES // len(rear)))
        asked = [(tail, tail.asked) for tails in known.values() for tail in tails if not tail.is_loaded]
        words = [b"XREAD", b"COUNT", b"%d" % count, b"STREAMS"]
        keys, positions = [tail.key_word for tail in rear], [tail.position_word for tail in rear]
        at = {tail.key: tail.position for tail in rear}
        (answer,) = await tracking.ask(packed(words, keys, positions))
        if isinstance(answer, ResponseError):
            if not means_migration(answer):
                raise answer
            found = await read_singly(self._plane, self._node, tracking, at, count)
            self._take(found, known, at, asked, count)
            # Until they are all there: nobody says what changes on the other node.
            self._changed(known)
            await asyncio.sleep(MIGRATION_SECONDS)
            return bool(found)
        self._take((answer or {}).items(), known, at, asked, count)
        return bool(answer)

    def _take(
        self,
        found: Any,
        known: dict[bytes, list[Tail]],
        at: dict[bytes, bytes],
        asked: list[tuple[Tail, int]],
        count: int,
    ) -> None:
        """Nothing here awaits: what followers are told is whole at every moment."""
        now = asyncio.get_running_loop().time()
        took = 0
        longer: set[Tail] = set()
        came: list[tuple[Tail, int]] = []
        for key, entries in found:
            for tail in known[key]:
                if not self.watches(tail):
                    continue  # It was forgotten, and perhaps begun anew, while this was on its way.
                came.append((tail, tail.end))
                tail.heard_at = now
                for entry_id, (_, raw) in entries if tail.position == at[key] else _behind(tail, entries):
                    took += tail.add(entry_id, raw)
                if len(entries) == count:
                    longer.add(tail)
                if tail.is_over:
                    tail.left_at = now
                    self.unwatch(tail)
            if len(entries) == count:
                self._changed([key])
        for tail, asking in asked:
            if tail not in longer:
                tail.answered = max(tail.answered, asking)
                came.append((tail, tail.end))
        for tail, since in came:
            tail.deliver(since)
        self._took(took)


def _place(tail: Tail) -> Cursor:
    return Cursor.parse(tail.position)


def _behind(tail: Tail, entries: list[Any]) -> list[Any]:
    """Those that it does not have."""
    place = _place(tail)
    return [entry for entry in entries if Cursor.parse(entry[0]) > place]


class _Moved(StoreUnavailable):
    """The logs of a partition are on another node now."""
