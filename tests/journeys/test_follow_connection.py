"""One connection of a follower: how it begins, what it says in silence, and when it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket

import psutil
from given import eventually
from installation import Installation, Seen, Wire
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared.events import encode
from tokentail.shared.log import FIELD


async def test_a_follower_of_a_queued_job_is_connected_and_sees_the_first_entry_when_it_comes(
    install, client_of
) -> None:
    # Given an installation without a worker, and a job that waits
    installation: Installation = install()
    wire: Wire = client_of(installation)
    job_id = await wire.submit("quick")
    async with wire.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        # Then the stream opens although nothing has happened yet
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        assert await anext(lines) == ": connected"
        # When a worker comes
        await asyncio.to_thread(installation.start_worker)
        # Then the attempt's beginning arrives on the open connection
        assert (await anext(lines)).startswith("retry: ")
        assert (await anext(lines)).endswith("-0")
        assert await anext(lines) == "event: attempt"


async def test_headers_keep_proxies_from_holding_the_stream_back(wire: Wire) -> None:
    # Given a job; When it is followed
    job_id = await wire.submit("quick")
    answer = await wire.http.get(f"/v1/jobs/{job_id}/events")
    # Then the headers of the protocol are there
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-request-id"]


async def test_a_silent_stream_pings_with_one_line_that_no_client_takes_for_an_event(
    install, client_of
) -> None:
    # Given an API that pings after a moment, and a job that waits
    installation: Installation = install(TOKENTAIL_PING_SECONDS="0.3")
    wire: Wire = client_of(installation)
    job_id = await wire.submit("quick")
    async with wire.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        # When nothing happens; Then comments come, each with one newline
        got = b""
        async for data in answer.aiter_raw():
            got += data
            if got.count(b": ping") == 2:
                break
    assert re.fullmatch(rb": connected\nretry: \d+\n: ping\n: ping\n", got)


async def test_an_old_connection_is_ended_cleanly_and_its_client_goes_on(install, client_of) -> None:
    # Given an API that lets no stream grow older than half a second, and a long generation
    installation: Installation = install(TOKENTAIL_STREAM_SECONDS="0.5")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("steady")
    # When a client follows and comes back whenever its stream ends
    seen, connections = Seen(), 0
    while not seen.endings:
        part = await wire.follow(job_id, seen.ids[-1] if seen.events else None)
        seen.events += part.events
        connections += 1
    # Then it needed several connections and has everything once
    assert connections > 1
    assert seen.events == (await wire.follow(job_id)).events


async def test_a_follower_that_does_not_read_is_cut_off_and_others_are_not_held_up(
    install, client_of
) -> None:
    # Given an API that waits half a second for a follower to take something
    installation: Installation = install(TOKENTAIL_SEND_SECONDS="0.5")
    wire: Wire = client_of(installation)
    # And a log of 20 MB, more than the system buffers for one connection
    job_id = await wire.submit("quick")
    async with Redis.from_url(installation.redis.url) as redis:
        pipe = redis.pipeline(transaction=False)
        delta = encode({"type": "delta", "content": "x" * 10_000})
        for seq in range(2000):
            pipe.xadd(keys.log(job_id), {FIELD: delta}, id=f"1-{seq}")
        await pipe.execute()
    # When a client asks for it and reads nothing
    with socket.create_connection(("127.0.0.1", int(installation.url.rsplit(":", 1)[1]))) as stalled:
        stalled.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        api = psutil.Process(installation.api.pid)
        mine = stalled.getsockname()
        await eventually(lambda: mine in {c.raddr for c in api.net_connections()})
        # Then others are served meanwhile
        assert len((await wire.follow(job_id, most=2000)).events) == 2000
        # And the API drops its connection
        await eventually(lambda: mine not in {c.raddr for c in api.net_connections()})
        # And with it what it held for that client, who comes back with its last id
        stalled.settimeout(10)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while data := stalled.recv(1 << 20):
                taken += len(data)
        assert taken < 20_000_000
