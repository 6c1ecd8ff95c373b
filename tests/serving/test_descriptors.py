"""The limit of open files: raised, reported, and never run into."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from api_process import Api
from given import eventually
from processes import TOKENTAIL, Running
from streams import Stream

from tokentail.api.descriptors import OWN_DESCRIPTORS, streams_within


def limited(how: str) -> tuple[str, ...]:
    """What starts a command with other limits."""
    return ("sh", "-c", f'ulimit {how}; exec "$@"', "sh")


def test_streams_get_what_the_process_does_not_need_itself() -> None:
    assert streams_within(1_000_000, wanted=10_000) == 10_000
    assert streams_within(OWN_DESCRIPTORS + 7, wanted=10_000) == 7
    assert streams_within(OWN_DESCRIPTORS + 7, wanted=5) == 5


def test_the_limit_is_raised_as_far_as_it_may(start_api: Callable[..., Api]) -> None:
    # Given a shell that lets its commands open 200 files unless they ask for more
    api = start_api(before=limited("-Sn 200"), TOKENTAIL_MAX_STREAMS="500")
    limits = Path(f"/proc/{api.running.pid}/limits").read_text()
    soft, hard = re.findall(r"Max open files\s+(\d+)\s+(\d+)", limits)[0]
    assert soft == hard
    assert "fewer streams" not in api.running.said


def test_a_limit_that_leaves_no_room_for_a_single_stream_is_refused() -> None:
    api = Running([*limited(f"-n {OWN_DESCRIPTORS}"), TOKENTAIL, "api", "--port", "0"])
    try:
        assert api.wait() == 2
        assert "ulimit -n" in api.said
    finally:
        api.close()


async def test_with_few_descriptors_there_are_fewer_streams_and_it_says_so(
    start_api: Callable[..., Api],
) -> None:
    # Given a process that may open little more than it needs itself
    api = start_api(before=limited(f"-n {OWN_DESCRIPTORS + 20}"))
    assert sum("fewer streams" in line for line in api.running.lines) == 1
    # When more clients come than that
    job_id = api.submit()
    streams = [await Stream.open(api.port, job_id) for _ in range(30)]
    # Then so many are served, and the others refused as ever
    assert [stream.status for stream in streams] == [200] * 20 + [503] * 10


async def test_more_connections_than_descriptors_neither_stop_it_nor_keep_it_busy(
    start_api: Callable[..., Api],
) -> None:
    # Given a process whose descriptors are all taken by connections that say nothing, beside one stream
    api = start_api(before=limited(f"-n {OWN_DESCRIPTORS + 20}"))
    job_id = api.submit()
    stream = (await Stream.open(api.port, job_id)).read()
    crowd = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(OWN_DESCRIPTORS + 200)]
    await eventually(lambda: api.process.num_fds() >= OWN_DESCRIPTORS + 19)
    # When it is left like that for a while
    before, began = api.process.cpu_times(), time.monotonic()
    seen = len(stream.ids)
    for number in range(10):
        api.say(job_id, range(number, number + 1))
        await eventually(lambda number=number: len(stream.ids) == seen + number + 1)
        await asyncio.sleep(0.1)  # What it does when there is nothing to do is what is looked at.
    used = sum(api.process.cpu_times()[:2]) - sum(before[:2])
    # Then its streams go on, and it does not spend its time on those whom it can't accept
    assert used < (time.monotonic() - began) / 2
    # And when they have left it accepts others
    for connection in crowd:
        connection.close()

    def answers() -> bool:
        try:
            return httpx.get(f"{api.url}/livez").status_code == 200
        except httpx.TransportError:
            return False

    await eventually(answers)
