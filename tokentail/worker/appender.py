"""Group commit: all attempts of a process append through one connection.

What accumulates while one pipeline is in flight goes out in the next, so the cost of an entry falls as
load rises. An attempt keeps all its entries until it has ended: when Redis comes back having forgotten
the end of a log, its owner appends what is missing with the same ids, and followers who had seen more
than Redis remembers stay right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio import ConnectionPool
from redis.exceptions import ResponseError

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import StoreUnavailable, Superseded
from tokentail.shared.events import Event, encode
from tokentail.shared.log import FIELD, Entry, Logs
from tokentail.worker.writer import Writer

#: A flush costs ~80 µs however little it carries; under load this pause makes it carry more. The first
#: delta of an attempt does not wait for it.
PACE_SECONDS = 0.003

#: Entries per flush, so that one very fast model does not hold up the others' for long.
BATCH = 1000


class Appender:
    """The one connection through which a worker process writes tokens. `run` it as a task."""

    def __init__(self, pool: ConnectionPool, logs: Logs) -> None:
        # A connection of our own, not one from the pool: the pool reconnects in silence, and we must
        # know of every reconnection, for Redis may have restarted without the end of our logs.
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._logs = logs
        self._writers: set[Writer] = set()
        self._dirty: dict[Writer, None] = {}
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._flushed_at = 0.0

    async def open(self, job_id: str, fence: int, opening: Event, *, ttl_seconds: float) -> Writer | Entry:
        """Begin an attempt's part of a log. Returns the pen, or the ending that the log already holds.

        Waits while Redis is away. Raises Superseded if a newer attempt has opened the log.
        """
        entry = Entry(Cursor(fence, 0), encode(opening))
        there = await store.until_available(
            lambda: self._logs.append(job_id, entry.cursor, entry.raw, ttl_seconds=ttl_seconds)
        )
        if there is None:
            writer = Writer(self.notice, job_id, entry, ttl_seconds)
            self._writers.add(writer)
            return writer
        if there.is_ending:
            return there
        raise Superseded(f"A newer attempt at {job_id} has opened its log.")

    async def end(self, writer: Writer, ending: Event, *, ttl_seconds: float) -> Entry:
        """Store the ending behind all that the writer holds. Returns the log's ending: this one, or one
        that was there already. Waits while Redis is away. Raises Superseded."""
        raw = encode(ending)
        while True:
            await writer.flushed()
            entry = Entry(Cursor(writer.fence, len(writer.entries)), raw)
            try:
                there = await self._logs.append(writer.job_id, entry.cursor, raw, ttl_seconds=ttl_seconds)
            except StoreUnavailable:
                # It may come back without the log's tail, or has (LogCut): an ending must not follow a gap.
                self._doubt([writer])
                continue
            if there is None or there.is_ending:
                return there or entry
            raise Superseded(f"A newer attempt at {writer.job_id} has its log.")

    def close(self, writer: Writer) -> None:
        """Forget an attempt's entries; its ending is stored, or not ours to write."""
        self._writers.discard(writer)
        self._dirty.pop(writer, None)

    def notice(self, writer: Writer) -> None:
        """For writers: there is something to flush."""
        self._dirty[writer] = None
        self._work.set()
        if len(writer.entries) == 2:
            self._hurry.set()

    async def run(self) -> None:
        """Flush for ever; ends by cancellation."""
        loop = asyncio.get_running_loop()
        pause = store.AWAY_SECONDS
        try:
            while True:
                await self._work.wait()
                await self._pace(self._flushed_at + PACE_SECONDS - loop.time())
                try:
                    await self._flush()
                    pause = store.AWAY_SECONDS
                except StoreUnavailable:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, store.AWAY_LIMIT_SECONDS)
                self._flushed_at = loop.time()
        finally:
            await self._connection.disconnect(nowait=True)

    async def _pace(self, seconds: float) -> None:
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._hurry.wait()
            except TimeoutError:
                pass

    async def _flush(self) -> None:
        """Store what is pending, up to BATCH entries. Raises StoreUnavailable; nothing is forgotten then."""
        self._work.clear()
        self._hurry.clear()
        try:
            with store.away_is_unavailable():
                async with asyncio.timeout(store.SOCKET_TIMEOUT_SECONDS):
                    await self._connect()
                    await self._settle_doubts()
                    batch = self._next_batch()
                    if batch:
                        await self._send(batch)
        except BaseException:
            # Some of the batch may be stored, none or all: ask before sending again.
            await self._connection.disconnect(nowait=True)
            self._doubt(self._writers)
            raise
        if self._dirty:
            self._work.set()

    async def _connect(self) -> None:
        if not self._connection.is_connected:
            await self._connection.connect()
            self._doubt(self._writers)

    def _next_batch(self) -> list[tuple[Writer, int]]:
        batch: list[tuple[Writer, int]] = []
        for writer in list(self._dirty):
            room = BATCH - len(batch)
            waiting = range(0) if writer.lost else range(writer.acked, len(writer.entries))
            batch += [(writer, seq) for seq in waiting[:room]]
            if len(waiting) <= room:
                del self._dirty[writer]
        return batch

    async def _send(self, batch: list[tuple[Writer, int]]) -> None:
        commands = [
            ("XADD", keys.log(w.job_id), "NOMKSTREAM", f"{w.fence}-{seq}", FIELD, w.entries[seq])
            for w, seq in batch
        ]
        await self._connection.send_packed_command(
            self._connection.pack_commands(commands), check_health=False
        )
        for writer, seq in batch:
            self._take_reply(writer, seq, await self._reply())

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as refusal:
            return refusal

    def _take_reply(self, writer: Writer, seq: int, reply: Any) -> None:
        if isinstance(reply, bytes):
            writer.moved(seq + 1)
        elif reply is None or (isinstance(reply, ResponseError) and "equal or smaller" in str(reply)):
            # No log any more, or a newer entry in it. We asked after each reconnection, so Redis has not
            # forgotten anything: somebody deleted the job or took it over.
            writer.give_up()
        else:
            raise reply

    def _doubt(self, writers: Iterable[Writer]) -> None:
        for writer in writers:
            writer.unsure = True
            self.notice(writer)

    async def _settle_doubts(self) -> None:
        """Ask, for every writer in doubt, how far its log goes, and set it back to there."""
        unsure = [writer for writer in self._writers if writer.unsure and not writer.lost]
        for writer, last in zip(unsure, await self._last_entries(unsure), strict=True):
            if last is not None and last.cursor.fence > writer.fence:
                writer.give_up()
            elif writer not in self._writers:
                continue  # Closed while we asked; opening its log again would undo a deletion.
            elif last is None or last.cursor.fence < writer.fence:
                await self._open_again(writer)
            else:
                stored = min(last.cursor.seq + 1, len(writer.entries))
                writer.unsure = False
                writer.moved(stored)

    async def _last_entries(self, writers: list[Writer]) -> list[Entry | None]:
        if not writers:
            return []
        commands = [("XREVRANGE", keys.log(w.job_id), "+", "-", "COUNT", 1) for w in writers]
        await self._connection.send_packed_command(
            self._connection.pack_commands(commands), check_health=False
        )
        answers = [await self._connection.read_response(disable_decoding=True) for _ in writers]
        return [Entry(Cursor.parse(a[0][0]), a[0][1][1]) if a else None for a in answers]

    async def _open_again(self, writer: Writer) -> None:
        """Redis has forgotten even that this attempt began."""
        there = await self._logs.append(
            writer.job_id, Cursor(writer.fence, 0), writer.entries[0], ttl_seconds=writer.ttl_seconds
        )
        if there is None:
            writer.unsure = False
            writer.moved(1)
        else:
            writer.give_up()
