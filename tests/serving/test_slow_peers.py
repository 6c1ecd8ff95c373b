"""Clients that stop reading: found although the system would take megabytes for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from api_process import Api
from given import RESULT, completed, eventually, running
from streams import Stream

from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

#: A loopback sends in pieces of 64 KB, which no small buffer has room for.
ETHERNET_SEGMENT = 1448

#: Room for a few entries.
LITTLE = 4096


async def test_a_client_that_stops_reading_is_cut_off_although_little_was_said(
    start_api: Callable[..., Api],
) -> None:
    # Given an API that waits a second for a client to take something, a client that reads nothing, and one
    # that does
    api = start_api(TOKENTAIL_SEND_SECONDS="1")
    job_id = api.submit()
    stuck = await Stream.open(api.port, job_id, room=LITTLE)
    fine = (await Stream.open(api.port, job_id)).read()
    # When a hundred kilobytes are said, which the system would keep for it for ever
    said = api.say(job_id, range(100), size=1000)
    # Then it is cut off
    await eventually(lambda: api.metric("streams") == 1)
    got = (await stuck.read().ended()).ids
    assert not stuck.is_clean
    assert got == said[: len(got)]
    # And has everything once it has come back with its cursor
    again = (await Stream.open(api.port, job_id, after=got[-1] if got else None)).read()
    await eventually(lambda: got + again.ids == said)
    # And the other one has noticed nothing
    await eventually(lambda: fine.ids == said)
    assert fine.ended_at is None


async def test_a_client_that_reads_steadily_but_slowly_is_not_cut_off(start_api: Callable[..., Api]) -> None:
    # Given an API that waits two seconds, and a client that reads a little, ten times a second
    api = start_api(TOKENTAIL_SEND_SECONDS="2")
    job_id = api.submit()
    said = api.say(job_id, range(110), size=1000)  # All of it is with the system.
    with socket.socket() as slow:
        slow.setblocking(False)
        # The system says that it takes more once about that is free: several times a second.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_SEGMENT)
        loop, body = asyncio.get_running_loop(), b""
        await loop.sock_connect(slow, ("127.0.0.1", api.port))
        await loop.sock_sendall(slow, f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        # When that takes it longer than that
        while f"id: {said[-1]}".encode() not in body:
            data = await loop.sock_recv(slow, 2 * 1024)
            assert data
            body += data
            await asyncio.sleep(0.1)  # What a slow client does.
        # Then it gets to the end all the same
        assert api.metric("streams") == 1


async def test_a_client_that_goes_before_its_answer_has_begun_takes_nobody_with_it(
    start_api: Callable[..., Api], redis_url: str
) -> None:
    # Given a job that has ended, in an API that can't reach the logs
    async with store.client(redis_url) as redis:
        queue = Queue(redis, Settings(redis_url=redis_url))
        claim = await running(queue)
        await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    api = start_api(TOKENTAIL_LOG_REDIS_URL="redis://127.0.0.1:1/0")
    # When a client asks for its events, and goes while it is tried
    with socket.create_connection(("127.0.0.1", api.port)) as hasty:
        hasty.sendall(f"GET /v1/jobs/{claim.job_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await eventually(lambda: api.metric("followers") == 1)
    await eventually(lambda: api.metric("followers") == 0)
    # Then the API serves on
    assert api.process.is_running()
    assert "broke down" not in api.running.said
