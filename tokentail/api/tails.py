"""The watched logs of this process.

Whatever the number of followers, Redis sees one blocking read over all watched logs of a partition. Replay
and live are that same read, so there is no hand-over between them in which an entry could be lost or doubled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tokentail.api.reader import Reader
from tokentail.api.tail import Follower, Tail
from tokentail.shared import keys, tasks
from tokentail.shared.cursor import Cursor
from tokentail.shared.data_plane import DataPlane


class Tails:
    """Follow logs; `run` the readers as a task.

    Invariant: a reader has a tail exactly as long as that has followers.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._readers = [Reader(plane) for _ in range(plane.partitions)]

    def follow(
        self, job_id: str, after: Cursor, abort: Callable[[], None], *, has_ended: bool = False
    ) -> Follower:
        """A new follower of a log; every one has to `leave`. `abort` drops its connection at once.
        `has_ended`: the log is known to hold its ending, so what is read has to reach it.
        """
        reader, key = self._reader_of(job_id), keys.log(job_id).encode()
        tail = reader.tails.get(key)
        if tail is None:
            tail = reader.tails[key] = Tail(job_id)
            tail.heard_at = asyncio.get_running_loop().time()
            reader.look()
        elif not tail.is_over and (has_ended or not tail.frames or tail.index_after(after) is None):
            # What it has seen, in another process or in a GET, or knows to be there may be unread here yet.
            tail.asked += 1
            reader.look()
        follower = Follower(tail, after, abort)
        tail.followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """A follower has gone. The last one's tail is no longer watched."""
        tail = follower.tail
        tail.followers.discard(follower)
        if not tail.followers:
            self._reader_of(tail.job_id).tails.pop(keys.log(tail.job_id).encode(), None)

    def all(self) -> list[Tail]:
        """Every watched log."""
        return [tail for reader in self._readers for tail in reader.tails.values()]

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
