"""One connection to one node, shared by all attempts whose logs are there: group commit.

What accumulates while one pipeline is in flight goes out in the next, so the cost of an entry falls as
load rises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from redis.asyncio import Connection
from redis.exceptions import OutOfMemoryError

from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.exchange import Command, exchange
from tokentail.shared.log import Entry, forbidding, opening
from tokentail.shared.slots import redirection
from tokentail.worker.run import Run, is_late
from tokentail.worker.writer import Writer

if TYPE_CHECKING:
    from tokentail.worker.appender import Appender

#: A flush costs ~80 µs however little it carries; under load this pause makes it carry more. The first
#: delta of an attempt does not wait for it.
PACE_SECONDS = 0.003

#: Entries per flush, so that one very fast model does not hold up the others' for long.
BATCH = 1000

_ASKING: list[Command] = [("ASKING",)]


class Lane:
    """The writers whose logs one node holds. `run` it as a task."""

    def __init__(self, node: str, connection: Connection, appender: Appender) -> None:
        self.node = node
        # A connection of our own, not one from a pool: a pool reconnects in silence, and we must know of
        # every reconnection, for Redis may have restarted without the end of our logs.
        self._connection = connection
        self._appender = appender
        self.writers: set[Writer] = set()
        self._dirty: dict[Writer, None] = {}
        self._work = asyncio.Event()
        self._hurry = asyncio.Event()
        self._flushed_at = 0.0

    def take(self, writer: Writer) -> None:
        """Send for this writer from now on, unless it has been closed by now."""
        writer.lane = self
        if not writer.closed:
            self.writers.add(writer)
            self.notice(writer)

    def release(self, writer: Writer) -> None:
        """Send nothing for it any more."""
        self.writers.discard(writer)
        self._dirty.pop(writer, None)

    def notice(self, writer: Writer) -> None:
        """There is something to send."""
        self._dirty[writer] = None
        self._work.set()
        if len(writer.entries) == 2:
            self._hurry.set()

    def doubt(self, writers: Iterable[Writer]) -> None:
        """Ask how far their logs go before anything else is sent for them."""
        for writer in writers:
            writer.unsure, writer.just_sent = True, False
            self.notice(writer)

    async def run(self) -> None:
        """Flush for ever; ends by cancellation."""
        loop = asyncio.get_running_loop()
        pauses = store.Pauses()
        try:
            while True:
                await self._work.wait()
                await self._pace(self._flushed_at + PACE_SECONDS - loop.time())
                try:
                    await self._flush()
                    pauses.over()
                except StoreUnavailable:
                    await self._appender.away(self)
                    await pauses.sleep()
                self._flushed_at = loop.time()
        finally:
            await self._connection.disconnect(nowait=True)

    async def _pace(self, seconds: float) -> None:
        if seconds > 0:
            await tasks.happens(self._hurry, seconds)

    async def _flush(self) -> None:
        """Store what is pending, up to BATCH entries. Raises StoreUnavailable; nothing is forgotten then."""
        self._work.clear()
        self._hurry.clear()
        try:
            with store.away_is_unavailable():
                async with asyncio.timeout(store.SOCKET_TIMEOUT_SECONDS):
                    if not self._connection.is_connected:
                        await self._connection.connect()  # type: ignore[no-untyped-call]
                        self.doubt(self.writers)
                    await self._settle_doubts()
                    if batch := self._next_batch():
                        await self._send(batch)
        except BaseException:
            # Some of the batch may be stored, none or all: ask before sending again.
            await self._connection.disconnect(nowait=True)
            self.doubt(self.writers)
            raise
        if self._dirty:
            self._work.set()

    # Sending

    def _next_batch(self) -> list[Run]:
        batch, room = [], BATCH
        for writer in list(self._dirty):
            if writer.unsure and not writer.lost and writer in self.writers:
                continue  # In doubt since we asked about others: it is asked about first, the next time.
            del self._dirty[writer]
            # One that is unsure all the same is on its way here; it is noticed again when it arrives.
            waiting = 0 if writer.lost or writer.unsure else len(writer.entries) - writer.acked
            if count := min(waiting, room):
                batch.append(Run(writer, writer.acked, count))
                room -= count
            if count < waiting:
                self._dirty[writer] = None  # Behind all others, who come first the next time.
        return batch

    async def _send(self, batch: list[Run]) -> None:
        replies = await self._exchange([(run.writer, run.commands()) for run in batch])
        refusals = [self._take(run, run.outcome(said)) for run, said in zip(batch, replies, strict=True)]
        _raise_first(refusals)

    def _take(self, run: Run, outcome: list[Any] | Exception) -> Exception | None:
        """Note what has become of some entries; returns the reason if it is one to wait for."""
        writer = run.writer
        if isinstance(outcome, Exception):
            return self._refused(run, outcome)
        stored = [reply for reply in outcome if isinstance(reply, bytes)]
        if stored:
            writer.moved(run.first + len(stored))
            writer.redirections = 0
        if len(stored) == len(outcome):
            return None
        reply = outcome[len(stored)]
        if reply is None and writer.sent_by:
            self._appender.astray(writer)
            return None
        if reply is None or is_late(reply):
            # No log any more, or a newer entry in it. We asked after each reconnection, so Redis has not
            # forgotten anything: somebody deleted the job or took it over.
            writer.give_up()
            return None
        return reply  # type: ignore[no-any-return]

    def _refused(self, run: Run, refusal: Exception) -> Exception | None:
        writer = run.writer
        if (led := redirection(refusal, self.node)) is not None:
            self._appender.moved(writer, led, self.node)
            return None
        # What followers may have seen can't be dropped; it waits for memory.
        if isinstance(refusal, OutOfMemoryError) and run.first >= writer.known:
            writer.fill()
            return None
        return refusal

    async def _exchange(self, questions: Sequence[tuple[Writer, list[Command]]]) -> list[list[Any]]:
        """The replies to all commands, by writer."""
        commands = [word for writer, its in questions for word in (_ASKING if writer.sent_by else []) + its]
        replies = iter(await exchange(self._connection, commands))
        return [_its_replies(replies, writer, len(its)) for writer, its in questions]

    # Settling doubts

    async def _settle_doubts(self) -> None:
        """Ask, for every writer in doubt, how far its log goes, and set it back to there."""
        unsure = [writer for writer in self.writers if writer.unsure and not writer.lost]
        begin_again, refusals = [], []
        for writer, last in zip(unsure, await self._last_entries(unsure), strict=True):
            if writer not in self.writers:
                continue  # Closed while we asked; opening its log again would undo a deletion.
            if isinstance(last, Exception):
                refusals.append(self._unsettled(writer, last))
            elif last is None and writer.sent_by and not writer.just_sent:
                self._appender.astray(writer)
            elif last is None or last.cursor.fence < writer.fence:
                begin_again.append(writer)
            elif last.cursor.fence > writer.fence:
                writer.give_up()
            else:
                writer.unsure = writer.just_sent = False
                writer.moved(min(last.cursor.seq + 1, len(writer.entries)))
        _raise_first(refusals + await self._open_again(begin_again))

    async def _last_entries(self, writers: list[Writer]) -> list[Entry | Exception | None]:
        asked = await self._exchange([(w, [("XREVRANGE", w.key, "+", "-", "COUNT", 1)]) for w in writers])
        return [reply if isinstance(reply, Exception) else _entry(reply) for (reply,) in asked]

    async def _open_again(self, writers: list[Writer]) -> list[Exception | None]:
        """Redis has forgotten even that these attempts began."""
        asked = await self._exchange(
            [(w, [opening(w.key, Cursor(w.fence, 0), w.entries[0], w.ttl_seconds)]) for w in writers]
        )
        refusals: list[Exception | None] = []
        for writer, (reply,) in zip(writers, asked, strict=True):
            if isinstance(reply, Exception):
                refusals.append(self._unsettled(writer, reply))
            elif forbidding(reply) is not None:
                writer.give_up()
            else:
                writer.unsure = writer.just_sent = False
                writer.moved(1)
        return refusals

    def _unsettled(self, writer: Writer, refusal: Exception) -> Exception | None:
        if (led := redirection(refusal, self.node)) is None:
            return refusal
        self._appender.moved(writer, led, self.node)
        return None


def _its_replies(replies: Iterator[Any], writer: Writer, count: int) -> list[Any]:
    if writer.sent_by:
        next(replies)
    return list(islice(replies, count))


def _entry(reply: Any) -> Entry | None:
    return Entry(Cursor.parse(reply[0][0]), reply[0][1][1]) if reply else None


def _raise_first(refusals: Iterable[Exception | None]) -> None:
    for refusal in refusals:
        if refusal is not None:
            raise refusal
