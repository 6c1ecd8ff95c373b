"""A follower is a cursor into its tail: it sees everything after it, once, in order."""

from __future__ import annotations

import asyncio
import re

import pytest
from given import attempt, completed, delta

from tokentail.api import sse
from tokentail.api import tail as tail_module
from tokentail.api.tail import RETRY_MS, Follower, Tail
from tokentail.shared import events
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.job import new_id
from tokentail.shared.log import Entry

FENCE = 1000
LOG = [attempt(), *(delta(str(n)) for n in range(8)), completed()]


def entries(fence: int = FENCE, log: list = LOG) -> list[Entry]:  # type: ignore[type-arg]
    return [Entry(Cursor(fence, seq), events.encode(event)) for seq, event in enumerate(log)]


def tail_of(*log: Entry) -> Tail:
    tail = Tail(new_id())
    for entry in log:
        tail.add(entry)
    tail.answered = tail.asked
    return tail


def follow(tail: Tail, after: Cursor = START) -> Follower:
    follower = Follower(tail, after, lambda: None)
    tail.followers.add(follower)
    return follower


async def rest(follower: Follower) -> bytes:
    """All that it is told, without the `retry:` it begins with."""
    said = b""
    async with asyncio.timeout(20):
        while (chunk := await follower.next()) is not None:
            said += chunk
    return re.sub(rb"^retry: \d+\n", b"", said)


def frames(log: list[Entry]) -> bytes:
    return b"".join(sse.frame(entry) for entry in log)


async def test_from_every_cursor_the_rest_and_nothing_else() -> None:
    log = entries()
    tail = tail_of(*log)
    assert await rest(follow(tail)) == frames(log)
    for index, entry in enumerate(log):
        assert await rest(follow(tail, entry.cursor)) == frames(log[index + 1 :])


async def test_what_comes_later_is_told_as_it_comes() -> None:
    log = entries()
    tail = tail_of(*log[:3])
    follower = follow(tail, log[1].cursor)
    assert sse.frame(log[2]) in (await follower.next() or b"")
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    tail.add(log[3])
    tail.wake()
    assert await waiting == sse.frame(log[3])


@pytest.mark.parametrize(
    "cursor", [Cursor(FENCE, 99), Cursor(FENCE + 1, 0), Cursor(FENCE - 1, 3), Cursor(1, 1)]
)
async def test_a_cursor_that_can_not_be_proven_is_told_so_and_gets_everything(cursor: Cursor) -> None:
    log = entries()
    assert await rest(follow(tail_of(*log), cursor)) == sse.reset(str(cursor)) + frames(log)


async def test_before_the_log_is_read_a_cursor_is_neither_proven_nor_refused() -> None:
    # Given a log of which the beginning is there
    log = entries()
    tail = tail_of(*log[:4])
    tail.answered = 0
    follower = follow(tail, log[5].cursor)
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    # When the rest arrives
    for entry in log[4:]:
        tail.add(entry)
    tail.answered = tail.asked
    tail.wake()
    assert frames(log[6:]) in (await waiting or b"")


async def test_the_retry_stands_once_in_the_first_block_and_differs_between_clients() -> None:
    log = entries()
    waits = set()
    for _ in range(20):
        follower = follow(tail_of(*log))
        first = await follower.next() or b""
        match = re.match(rb"retry: (\d+)\nid: ", first)
        assert match is not None
        waits.add(int(match[1]))
        assert b"retry" not in first[match.end() :]
        assert await follower.next() is None
    assert len(waits) > 1
    assert all(RETRY_MS[0] <= wait <= RETRY_MS[1] for wait in waits)


async def test_a_client_far_behind_catches_up_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "WRITE_BYTES", 200)
    log = entries()
    follower = follow(tail_of(*log))
    pieces = []
    while (piece := await follower.next()) is not None:
        pieces.append(piece)
    assert len(pieces) > 2
    assert all(piece.endswith(b"\n\n") for piece in pieces)
    assert re.sub(rb"^retry: \d+\n", b"", b"".join(pieces)) == frames(log)


async def test_a_ping_goes_out_only_in_silence() -> None:
    log = entries()
    tail = tail_of(log[0])
    follower = follow(tail)
    follower.ping()
    # Given something to say, that is said instead, and the ping after it
    assert sse.frame(log[0]) in (await follower.next() or b"")
    assert await follower.next() == sse.PING
    # And in silence it is said alone, once
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    follower.ping()
    assert await waiting == sse.PING
    again = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


async def test_a_closed_follower_ends_also_while_it_waits() -> None:
    follower = follow(tail_of(*entries()[:2]))
    await follower.next()
    waiting = asyncio.create_task(follower.next())
    await asyncio.sleep(0)
    follower.close()
    assert await waiting is None
    assert await follower.next() is None


async def test_a_log_that_is_gone_ends_its_followers_after_what_there_was() -> None:
    log = entries()[:3]
    tail = tail_of(*log)
    follower = follow(tail)
    tail.gone = True
    tail.wake()
    assert await rest(follower) == frames(log)


async def test_a_log_that_is_gone_before_it_was_read_ends_with_nothing_but_a_reset() -> None:
    tail = Tail(new_id())
    tail.gone = True
    assert await rest(follow(tail)) == b""
    assert await rest(follow(tail, Cursor(5, 5))) == sse.reset("5-5")
    assert await follow(tail).next_of_loaded() is None


async def test_a_follower_at_the_ending_ends_with_nothing() -> None:
    log = entries()
    assert await rest(follow(tail_of(*log), log[-1].cursor)) == b""


async def test_an_ending_makes_a_tail_over() -> None:
    log = entries()
    tail = tail_of(*log[:-1])
    assert not tail.is_over
    tail.add(log[-1])
    assert (tail.ended, tail.is_over, tail.position) == (True, True, log[-1].cursor)


async def test_frames_are_made_once_however_many_follow() -> None:
    tail = tail_of(*entries())
    before = list(map(id, tail.frames))
    for _ in range(10):
        await rest(follow(tail))
    assert list(map(id, tail.frames)) == before
