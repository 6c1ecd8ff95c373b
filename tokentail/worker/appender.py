"""All that a worker process writes into logs: openings and endings guarded, what is between by group commit.

An attempt keeps all its entries until it has ended: when Redis comes back having forgotten the end of a log,
its owner appends what is missing with the same ids, and followers who had seen more than Redis remembers
stay right.
"""

from __future__ import annotations

import asyncio

from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.cursor import Cursor
from tokentail.shared.data_plane import DataPlane
from tokentail.shared.errors import LogCut, StoreUnavailable, Superseded
from tokentail.shared.events import Event, encode
from tokentail.shared.log import Entry, Logs
from tokentail.shared.slots import Redirection
from tokentail.worker.backlog import Backlog
from tokentail.worker.lane import Lane
from tokentail.worker.writer import Writer

#: What a process may hold for a Redis that is away before its attempts are to wait: some twenty minutes of
#: twenty streams, and little beside the 160 MB that litellm takes.
UNSENT_LIMIT_BYTES = 64 * 1024 * 1024

#: A log that was sent on more often than this, without a word stored in between, is one whose nodes don't
#: agree on who holds it: from then on there is a pause before each try.
REDIRECTIONS = 3


class Appender:
    """A lane for each node that holds logs of this process. `run` it as a task."""

    def __init__(
        self, plane: DataPlane, logs: Logs, *, unsent_limit_bytes: float = UNSENT_LIMIT_BYTES
    ) -> None:
        self._plane = plane
        self._logs = logs
        self._backlog = Backlog(unsent_limit_bytes)
        self._lanes: dict[str, Lane] = {}
        self._opened = asyncio.Event()

    @property
    def unsent_bytes(self) -> int:
        """The size of all entries that Redis has not acknowledged yet."""
        return self._backlog.bytes

    async def open(self, job_id: str, fence: int, opening: Event, *, ttl_seconds: float) -> Writer | Entry:
        """Begin an attempt's part of a log. Returns the pen, or the ending that the log already holds.

        Waits while Redis is away. Raises Superseded if a newer attempt has opened the log.
        """
        entry = Entry(Cursor(fence, 0), encode(opening))
        there = await store.until_available(
            lambda: self._logs.open(job_id, entry.cursor, entry.raw, ttl_seconds=ttl_seconds)
        )
        if isinstance(there, int):
            writer = Writer(job_id, entry, ttl_seconds=ttl_seconds, backlog=self._backlog, bytes_before=there)
            node = await store.until_available(lambda: self._plane.locate(writer.key))
            self._lane(node).take(writer)
            return writer
        if there.is_ending:
            return there
        raise Superseded(f"A newer attempt at {job_id} has opened its log.", there.cursor.fence)

    async def end(
        self, writer: Writer, ending: Event, *, instead: Event | None = None, ttl_seconds: float
    ) -> Entry:
        """Store the ending behind all that the writer holds, or `instead` if Redis had no memory for all of
        it. Returns the log's ending: that one, or one that was there already. Waits while Redis is away.
        Raises Superseded."""
        pauses = store.Pauses()
        while True:
            await writer.flushed()
            raw = encode(instead if instead and writer.full else ending)
            entry = Entry(Cursor(writer.fence, len(writer.entries)), raw)
            try:
                there = await self._logs.append(writer.job_id, entry.cursor, raw, ttl_seconds=ttl_seconds)
            except StoreUnavailable as error:
                # It may come back without the log's tail, or has (LogCut): an ending must not follow a gap.
                if writer.lane is not None:
                    writer.lane.doubt([writer])
                if not isinstance(error, LogCut):
                    await pauses.sleep()
                continue
            if there is None or there.is_ending:
                return there or entry
            raise Superseded(f"A newer attempt at {writer.job_id} has its log.", there.cursor.fence)

    def close(self, writer: Writer) -> None:
        """Forget an attempt's entries; its ending is stored, or not ours to write."""
        writer.close()
        if writer.lane is not None:
            writer.lane.release(writer)

    async def run(self) -> None:
        """Send for ever; ends by cancellation."""
        running: list[asyncio.Task[None]] = []
        try:
            while True:
                self._opened.clear()
                lanes = list(self._lanes.values())[len(running) :]
                running += [asyncio.create_task(lane.run()) for lane in lanes]
                await self._until_opened(running)
        finally:
            await tasks.end(*running)

    async def _until_opened(self, running: list[asyncio.Task[None]]) -> None:
        """Wait for a new lane. A lane that ends has a bug, which is raised."""
        opened = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait([opened, *running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        for lane in running:
            if lane.done():
                lane.result()

    # Lanes

    def moved(self, writer: Writer, led: Redirection, by: str) -> None:
        """For lanes: a node says that another one holds a log."""
        self._plane.learn(led)
        writer.redirections += 1
        self._transfer(writer, led.node, sent_by=by if led.asking else None)

    def astray(self, writer: Writer) -> None:
        """For lanes: a log is not where it was said to be going to; ask again who said so."""
        if writer.sent_by is not None:
            writer.redirections += 1
            self._transfer(writer, writer.sent_by)

    async def away(self, lane: Lane) -> None:
        """For lanes: a node does not answer; perhaps another one has taken its place."""
        self._plane.doubt(lane.node)
        for writer in list(lane.writers):
            try:
                node = await self._plane.locate(writer.key)
            except StoreUnavailable:
                return
            if node != lane.node and writer in lane.writers:
                self._transfer(writer, node)

    def _lane(self, node: str) -> Lane:
        if node not in self._lanes:
            # The lane bounds each exchange as a whole.
            connection = self._plane.connection(node)
            self._lanes[node] = Lane(node, connection, self)
            self._opened.set()
        return self._lanes[node]

    def _transfer(self, writer: Writer, node: str, *, sent_by: str | None = None) -> None:
        if writer.lane is not None:
            writer.lane.release(writer)
        # The other node may have less of the log, and must be asked before it is told more.
        writer.unsure = True
        writer.sent_by, writer.just_sent = sent_by, sent_by is not None
        writer.lane = lane = self._lane(node)
        late = writer.redirections - REDIRECTIONS
        if late <= 0:
            lane.take(writer)
        else:
            pause = min(store.AWAY_SECONDS * 2**late, store.AWAY_LIMIT_SECONDS)
            asyncio.get_running_loop().call_later(pause, lane.take, writer)
