"""An API process that is told to stop: what its clients, its balancer and its process manager see."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import httpx
import pytest
from api_process import Api
from given import eventually
from streams import BROWSER, Stream

#: A window that no test waits for.
LONG = "600"


async def stopping(api: Api) -> None:
    """Tell it to stop, and wait until it knows."""
    api.running.process.send_signal(signal.SIGTERM)
    async with httpx.AsyncClient(base_url=api.url) as http:

        async def is_unready() -> bool:
            return (await http.get("/readyz")).status_code == 503

        await eventually(is_unready)


async def test_it_says_that_it_is_not_ready_and_takes_nothing_new_while_it_still_answers(
    start_api: Callable[..., Api],
) -> None:
    # Given a process that has a stream to end, and is told to stop
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS=LONG)
    job_id = api.submit()
    (await Stream.open(api.port, job_id)).read()
    await stopping(api)
    async with httpx.AsyncClient(base_url=api.url) as http:
        # Then a balancer is told, with the reason
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "This process is stopping.")
        # And jobs and streams are sent elsewhere, and soon
        for refused in (await http.post("/v1/jobs", json={}), await http.get(f"/v1/jobs/{job_id}/events")):
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["content-type"] == "application/problem+json"
        # And short requests are answered, on connections that lead nobody back here
        short = await http.get(f"/v1/jobs/{job_id}")
        assert (short.status_code, short.headers["connection"]) == (200, "close")


async def test_a_browser_that_comes_while_it_stops_is_told_to_come_back(
    start_api: Callable[..., Api],
) -> None:
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS=LONG)
    job_id = api.submit()
    await stopping(api)
    stream = await Stream.open(api.port, job_id, headers=BROWSER)
    # An EventSource gives up for good on anything but 200
    assert stream.status == 200
    assert "text/event-stream" in stream.head
    body = (await stream.read().ended()).body
    assert body.startswith(b": connected\nretry: ")
    assert b"id:" not in body


async def test_streams_end_cleanly_and_one_after_the_other(start_api: Callable[..., Api]) -> None:
    # Given thirty streams of three jobs, and a window of one and a half seconds
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS="1.5")
    jobs = [api.submit() for _ in range(3)]
    streams = [(await Stream.open(api.port, jobs[number % 3])).read() for number in range(30)]
    # When the process is told to stop
    api.running.process.send_signal(signal.SIGTERM)
    # Then each ends in order, and its connection with it
    for stream in streams:
        assert (await stream.ended()).is_clean
    # And not all at once: no half of them within a third of the window
    ends = sorted(stream.ended_at or 0 for stream in streams)
    assert all(later - earlier > 0.5 for earlier, later in zip(ends, ends[15:], strict=False))
    assert await asyncio.to_thread(api.running.wait) == 0


async def test_a_second_signal_ends_all_streams_at_once(start_api: Callable[..., Api]) -> None:
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS=LONG)
    job_id = api.submit()
    streams = [(await Stream.open(api.port, job_id)).read() for _ in range(5)]
    await stopping(api)
    assert sum(stream.ended_at is None for stream in streams) >= 4
    api.running.interrupt()
    for stream in streams:
        assert (await stream.ended()).is_clean
    assert await asyncio.to_thread(api.running.wait) == 0


async def test_clients_that_take_nothing_do_not_keep_it_from_ending(start_api: Callable[..., Api]) -> None:
    # Given a log of 12 MB, clients that asked for it and read nothing, and one that waits for a job
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS="0.3")
    job_id = api.submit()
    api.say(job_id, range(1200), size=10_000)
    stuck = [await Stream.open(api.port, job_id, room=4096) for _ in range(20)]
    fine = (await Stream.open(api.port, api.submit())).read()
    # When the process is told to stop; Then it does, in good order for who listens
    api.running.process.send_signal(signal.SIGTERM)
    assert (await fine.ended()).is_clean
    assert await asyncio.to_thread(api.running.wait) == 0
    assert "Traceback" not in api.running.said
    # And the others know that they have not got everything
    for stream in stuck:
        assert not (await stream.read().ended()).is_clean


async def test_who_waits_for_an_ending_is_answered_before(start_api: Callable[..., Api]) -> None:
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS="0.5")
    job_id = api.submit()
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as http:
        waiting = asyncio.create_task(http.get(f"/v1/jobs/{job_id}?wait=60"))
        await eventually(lambda: api.metric("followers"))
        api.running.process.send_signal(signal.SIGTERM)
        answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert await asyncio.to_thread(api.running.wait) == 0


async def test_a_submit_that_had_begun_is_accepted(start_api: Callable[..., Api]) -> None:
    # Given a submit of which half has been sent when the process is told to stop
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS=LONG)
    body = b'{"model":"demo","messages":[{"role":"user","content":"Hi"}]}'
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head.encode())
    assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
    await stopping(api)
    # When the rest comes
    writer.write(body)
    # Then it is accepted, and the connection closed behind it
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 202")
    assert b"connection: close" in answer
    writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_clients_it_ends_as_soon_as_its_window(start_api: Callable[..., Api], number: int) -> None:
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS="0")
    api.running.process.send_signal(number)
    assert api.running.wait() == 0
    assert "Traceback" not in api.running.said


async def test_signals_that_come_until_it_has_gone_do_not_make_its_end_an_error(
    start_api: Callable[..., Api],
) -> None:
    api = start_api(TOKENTAIL_API_DRAIN_SECONDS="0")

    def has_gone() -> bool:
        api.running.process.send_signal(signal.SIGTERM)
        return api.running.process.poll() is not None

    await eventually(has_gone)
    assert api.running.wait() == 0
    assert "Traceback" not in api.running.said
