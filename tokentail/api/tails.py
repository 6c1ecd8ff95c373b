"""The logs that this process holds in memory, and the clients that follow them.

Whatever the number of followers, Redis sees one reader of all watched logs of a partition. It brings what was
and what comes, so there is no hand-over between them in which an entry could be lost or doubled.
"""

from __future__ import annotations

import asyncio

from tokentail.api.dialects.dialect import NATIVE, Dialect
from tokentail.api.follower import Follower
from tokentail.api.reader import Reader
from tokentail.api.tail import Tail
from tokentail.api.wire import Wire
from tokentail.shared import tasks
from tokentail.shared.cursor import Cursor
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.log import Logs

#: How long a log is kept after its last follower has left: all of them may be back in a moment (a balancer
#: that restarts, a network that comes back), and are served from memory then. One that has ended is kept for
#: as long after its ending was read, however many came since: it may have expired in Redis.
LINGER_SECONDS = 30.0

#: How long it is still read meanwhile, so that those who come back cost Redis nothing. Not for as long as it
#: is kept: clients that come for a moment, each to another job, would leave more to read than to serve.
READ_ON_SECONDS = 5.0

#: What a tail takes by itself.
TAIL_BYTES = 2048

_NONE: dict[Dialect, Tail] = {}


class Tails:
    """Follow logs; `run` the readers as a task. `max_bytes` bounds what all tails hold together."""

    def __init__(self, plane: DataPlane, *, max_bytes: int) -> None:
        self._plane = plane
        self._logs = Logs(plane)
        self._max_bytes = max_bytes
        self._held = 0
        self._readers = [Reader(plane, self._took) for _ in range(plane.partitions)]
        #: By job and then by dialect; the job that was followed longest ago first.
        self._tails: dict[str, dict[Dialect, Tail]] = {}
        #: Those held no longer whose followers still have to take what they were told, or to read the rest.
        self._left_over: set[Tail] = set()

    def get(self, job_id: str, dialect: Dialect = NATIVE) -> Tail | None:
        """What is known of a log here."""
        return self._tails.get(job_id, _NONE).get(dialect)

    def follow(
        self,
        job_id: str,
        after: Cursor,
        wire: Wire,
        dialect: Dialect = NATIVE,
        *,
        has_ended: bool = False,
    ) -> Follower:
        """A new follower of a log; every one has to `leave`. `has_ended`: the log is known to hold its
        ending, so what is read has to reach it.
        """
        reader = self._reader_of(job_id)
        self._tails[job_id] = tails = self._tails.pop(job_id, {})
        tail = tails.get(dialect)
        if tail is None:
            tail = tails[dialect] = Tail(job_id, dialect)
            self._held += TAIL_BYTES
        # What it has seen, in another process or in a GET, or knows to be there may be unread here yet.
        doubtful = has_ended or tail.number_after(after) is None
        if not tail.is_over and (doubtful or not reader.watches(tail)):
            tail.asked += 1
            reader.watch(tail)
        follower = Follower(tail, after, wire, self._logs)
        tail.followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """A follower has gone. Its tail stays for a while."""
        follower.close()
        follower.wire.listener = None  # The connection may serve other requests.
        tail = follower.tail
        tail.followers.discard(follower)
        if not tail.followers:
            self._left_over.discard(tail)
        if not tail.ended:
            tail.left_at = asyncio.get_running_loop().time()

    def all(self) -> list[Tail]:
        """Every log that is held, in each dialect in which it is."""
        return [tail for tails in self._tails.values() for tail in tails.values()]

    def followed(self) -> list[Tail]:
        """Every log that somebody follows, also those that are held no longer."""
        return [tail for tail in (*self.all(), *self._left_over) if tail.followers]

    def forget(self, tail: Tail) -> None:
        """Hold a log no longer. Whoever still follows it is told that it is gone."""
        if tail.gone:
            return
        tail.gone = True
        del self._tails[tail.job_id][tail.dialect]
        if not self._tails[tail.job_id]:
            del self._tails[tail.job_id]
        self._reader_of(tail.job_id).unwatch(tail)
        tail.deliver(tail.end)
        self._held -= tail.shed() + TAIL_BYTES
        if tail.followers:
            self._left_over.add(tail)

    def forget_job(self, job_id: str) -> None:
        """The same for a job's log in all dialects."""
        for tail in list(self._tails.get(job_id, _NONE).values()):
            self.forget(tail)

    def doubt_ending(self, job_id: str) -> None:
        """A job has not ended by its record: if its log is held with an ending, that is read anew. Mostly it
        is there, and the record about to be told; but a failover may have lost it."""
        for tail in list(self._tails.get(job_id, _NONE).values()):
            if tail.ended:
                self.forget(tail)

    def forget_left(self) -> None:
        """Read no more, and then forget, what nobody has followed for a while."""
        now = asyncio.get_running_loop().time()
        for tail in self.all():
            if tail.followers:
                continue
            if now - tail.left_at > LINGER_SECONDS:
                self.forget(tail)
            elif now - tail.left_at > READ_ON_SECONDS:
                self._reader_of(tail.job_id).unwatch(tail)

    def _took(self, more_bytes: int) -> None:
        """Hold more, and let go of what was followed longest ago until the rest fits."""
        self._held += more_bytes
        if self._held <= self._max_bytes:
            return
        for tail in self.all():
            if tail.followers:
                self._held -= tail.shed()
            else:
                self.forget(tail)
            if self._held <= self._max_bytes:
                return

    def _reader_of(self, job_id: str) -> Reader:
        return self._readers[self._plane.partition_of(job_id)]

    async def run(self) -> None:
        """Read for ever; ends by cancellation. A reader that ends has a bug, which is raised."""
        reading = [asyncio.create_task(reader.run()) for reader in self._readers]
        try:
            done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for reader in done:
                reader.result()
        finally:
            await tasks.end(*reading)
