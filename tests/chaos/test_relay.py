"""The relay does to connections what its mode says, and nothing when it is healed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from given import eventually
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as Disconnected

from chaos.relay import Relay

#: Long enough for anything on loopback to have arrived that is going to.
WHILE_SECONDS = 0.2


class Line:
    """A Redis reached through a relay, and the same one reached directly."""

    def __init__(self, relay: Relay, port: int, redis_url: str) -> None:
        self.relay = relay
        self.through = Redis.from_url(f"redis://127.0.0.1:{port}/0", retry=None)
        self.direct = Redis.from_url(redis_url)


@pytest.fixture
async def line(redis_url: str) -> AsyncIterator[Line]:
    address = urlsplit(redis_url)
    relay = Relay(str(address.hostname), int(address.port or 0))
    made = Line(relay, await relay.start(), redis_url)
    yield made
    await made.through.aclose()
    await made.direct.aclose()
    await relay.close()


async def test_a_healed_relay_passes_everything_on_unchanged(line: Line) -> None:
    # Given a value of a megabyte
    value = bytes(range(256)) * 4096
    # When it is written and read through the relay; Then it is the same
    await line.through.set("big", value)
    assert await line.through.get("big") == value == await line.direct.get("big")


async def test_a_cut_drops_what_is_open_and_what_comes_until_it_is_healed(line: Line) -> None:
    # Given a connection that waits for something
    waiting = asyncio.create_task(line.through.blpop(["never"]))
    await eventually(lambda: _is_blocked(line))
    # When the relay cuts; Then that connection is gone, and new ones go at once
    line.relay.cut()
    with pytest.raises(Disconnected):
        await waiting
    with pytest.raises(Disconnected):
        await line.through.incr("n")
    # And after it is healed they work
    line.relay.heal()
    assert await line.through.incr("n") == 1


async def _is_blocked(line: Line) -> bool:
    return (await line.direct.info("clients"))["blocked_clients"] == 1


async def test_a_lost_reply_is_lost_after_the_deed_was_done(line: Line) -> None:
    # Given a relay that loses every reply
    await line.through.ping()
    line.relay.lose_replies(every=1)
    # When something is asked for; Then no answer comes
    with pytest.raises(Disconnected):
        await line.through.incr("n")
    # And it was done all the same, once
    line.relay.heal()
    assert await line.through.get("n") == b"1"
    assert line.relay.lost == 1


async def test_of_every_so_many_requests_one_loses_its_reply(line: Line) -> None:
    # Given a relay that loses every third reply, and one connection that says nothing by itself
    await line.through.ping()
    line.relay.lose_replies(every=3)
    # When it is used; Then the third answer is missing
    assert [await line.through.incr("n"), await line.through.incr("n")] == [1, 2]
    with pytest.raises(Disconnected):
        await line.through.incr("n")
    assert await line.direct.get("n") == b"3"


async def test_so_many_replies_are_lost_as_were_to_be_and_no_more(line: Line) -> None:
    # Given a relay that is to lose two replies
    await line.through.ping()
    line.relay.lose_next(1)
    line.relay.lose_next(1)
    # When something is asked for, and again on a new connection; Then both end without an answer
    for _ in range(2):
        with pytest.raises(Disconnected):
            await line.through.incr("n")
    assert line.relay.lost == 2
    # And the next ones are answered. The second was not done: its connection ended as it introduced itself.
    assert [await line.through.incr("n"), await line.through.incr("n")] == [2, 3]


async def test_what_is_stalled_arrives_when_the_relay_is_healed(line: Line) -> None:
    # Given a relay that is stalled
    await line.through.ping()
    line.relay.stall()
    # When something is asked for; Then nothing happens for as long as it is
    asked = asyncio.create_task(line.through.incr("n"))
    assert not (await asyncio.wait({asked}, timeout=WHILE_SECONDS))[0]
    assert await line.direct.get("n") is None
    # And then all of it
    line.relay.heal()
    assert await asked == 1


async def test_a_delay_makes_request_and_reply_late(line: Line) -> None:
    # Given a relay that is late by 50 ms
    await line.through.ping()
    line.relay.delay(0.05)
    # When something is asked for; Then the answer has been held up twice
    began = time.monotonic()
    assert await line.through.incr("n") == 1
    assert time.monotonic() - began >= 0.1


async def test_a_squeeze_lets_only_so_much_through(line: Line) -> None:
    # Given a value of 50 KB, and a relay that passes 200 KB a second
    await line.direct.set("big", bytes(50_000))
    await line.through.ping()
    line.relay.squeeze(200_000)
    # When it is read; Then it takes a quarter of a second
    began = time.monotonic()
    assert await line.through.get("big") == bytes(50_000)
    assert time.monotonic() - began >= 0.25


async def test_an_unreachable_target_is_a_closed_connection(line: Line) -> None:
    # Given a relay whose target is not there
    gone = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = gone.sockets[0].getsockname()[1]
    gone.close()
    relay = Relay("127.0.0.1", port)
    # When somebody connects; Then it is closed at once
    reader, writer = await asyncio.open_connection("127.0.0.1", await relay.start())
    assert await reader.read() == b""
    writer.close()
    await relay.close()


async def test_closing_a_relay_drops_its_connections(line: Line) -> None:
    # Given a connection that waits for something
    waiting = asyncio.create_task(line.through.blpop(["never"]))
    await eventually(lambda: _is_blocked(line))
    # When the relay is closed; Then the connection is gone
    await line.relay.close()
    with pytest.raises(Disconnected):
        await waiting
