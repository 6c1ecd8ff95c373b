"""`tokentail api --workers 2`: two processes, one port, one life."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from api_process import Api
from given import eventually
from processes import Running, children_of, command_of, is_alive
from streams import Stream

#: In a session of its own, so that a signal can go to its whole group.
OWN_GROUP = ("setsid",)


def serving(api: Api) -> list[int]:
    """Its processes; Python starts a helper beside them."""
    return [pid for pid in children_of(api.running.pid) if "spawn_main" in command_of(pid)]


async def both(api: Api) -> list[int]:
    """Its two processes, once they accept."""
    await eventually(lambda: len(serving(api)) == 2)

    def listens(pid: int) -> bool:
        return any(c.status == psutil.CONN_LISTEN for c in psutil.Process(pid).net_connections())

    await eventually(lambda: all(listens(pid) for pid in serving(api)))
    return serving(api)


def owner(api: Api, stream: Stream) -> int | None:
    """The process that a stream's connection has come to."""
    mine = stream.writer.get_extra_info("sockname")
    owners = [pid for pid in serving(api) if mine in {c.raddr for c in psutil.Process(pid).net_connections()}]
    return owners[0] if owners else None


async def one_on_each(api: Api, job_id: str) -> dict[int, Stream]:
    """A stream on each process; who accepts a connection is the system's choice."""
    pids, found = await both(api), {}
    for _ in range(500):
        # Several at once: a process that is idle has all the luck.
        some = await asyncio.gather(*(Stream.open(api.port, job_id) for _ in range(8)))
        for stream in some:
            pid = owner(api, stream)
            if pid is None or pid in found:
                stream.close()
            else:
                found[pid] = stream.read()
        if set(found) == set(pids):
            return found
    raise AssertionError("all connections went to one process")


async def test_followers_of_one_job_on_both_processes_see_the_whole_log(
    start_api: Callable[..., Api],
) -> None:
    api = start_api("--workers", "2")
    job_id = api.submit()
    streams = await one_on_each(api, job_id)
    said = api.say(job_id, range(50))
    for stream in streams.values():
        await eventually(lambda stream=stream: stream.ids == said)


def ear(pid: int) -> str:
    """The socket that a process listens on; shared ones have the same name."""
    (found,) = [c for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN]
    return str(Path(f"/proc/{pid}/fd/{found.fd}").readlink())


async def test_clients_that_come_one_by_one_are_spread_over_both(start_api: Callable[..., Api]) -> None:
    api = start_api("--workers", "2")
    job_id = api.submit()
    pids = await both(api)
    # From a shared socket one process may take them all, or not
    assert len({ear(pid) for pid in pids}) == 2
    owners = [owner(api, await Stream.open(api.port, job_id)) for _ in range(40)]
    # By chance, which leaves one with a fifth of them once in ten thousand runs
    assert all(owners.count(pid) >= 8 for pid in pids)


async def test_a_port_that_another_server_shares_among_its_own_is_taken(
    start_api: Callable[..., Api],
) -> None:
    api = start_api("--workers", "2")
    second = Running(
        [sys.executable, "-c", SECOND, api.redis_url, str(api.port)],
    )
    try:
        assert await asyncio.to_thread(second.wait) == 1
        assert "is taken" in second.said
    finally:
        second.close()


async def test_a_killed_process_comes_back_and_its_clients_resume(start_api: Callable[..., Api]) -> None:
    # Given followers on both processes that have read something
    api = start_api("--workers", "2")
    job_id = api.submit()
    streams = await one_on_each(api, job_id)
    said = api.say(job_id, range(10))
    for stream in streams.values():
        await eventually(lambda stream=stream: stream.ids == said)
    # When one is killed
    (killed, lost), (_, kept) = streams.items()
    os.kill(killed, signal.SIGKILL)
    await lost.ended()
    # Then its client goes on where it was, while the other has noticed nothing
    again = (await Stream.open(api.port, job_id, after=lost.ids[-1])).read()
    said += api.say(job_id, range(10, 20))
    await eventually(lambda: lost.ids + again.ids == said)
    await eventually(lambda: kept.ids == said)
    # And there are two again
    pids = await both(api)
    assert killed not in pids


def _to_the_head(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def _to_all(pid: int) -> None:
    os.killpg(pid, signal.SIGTERM)


def _at_a_terminal(pid: int) -> None:
    os.killpg(pid, signal.SIGINT)


@pytest.mark.parametrize("stop", [_to_the_head, _to_all, _at_a_terminal])
async def test_however_it_is_stopped_streams_end_over_the_window_and_nothing_is_left(
    start_api: Callable[..., Api], stop: Callable[[int], None]
) -> None:
    # Given streams on both processes
    api = start_api("--workers", "2", before=OWN_GROUP, TOKENTAIL_API_DRAIN_SECONDS="1.5")
    job_id = api.submit()
    streams = list((await one_on_each(api, job_id)).values())
    streams += [(await Stream.open(api.port, job_id)).read() for _ in range(10)]
    children = children_of(api.running.pid)
    # When it is told to stop, by one signal to whomever
    began = asyncio.get_running_loop().time()
    stop(api.running.pid)
    # Then streams end cleanly, over the window: a process does not take its own for a second signal
    for stream in streams:
        assert (await stream.ended()).is_clean
    assert max(stream.ended_at or 0 for stream in streams) - began > 0.75
    assert await asyncio.to_thread(api.running.wait) == 0
    assert "Traceback" not in api.running.said
    await eventually(lambda: not any(map(is_alive, children)))


async def test_a_process_that_hears_of_one_signal_twice_takes_its_time(start_api: Callable[..., Api]) -> None:
    # Given streams, and processes that are stopping
    api = start_api("--workers", "2", TOKENTAIL_API_DRAIN_SECONDS="2")
    job_id = api.submit()
    await both(api)
    streams = [(await Stream.open(api.port, job_id)).read() for _ in range(20)]
    children = serving(api)
    api.running.process.terminate()
    for _ in children:
        api.running.wait_for('"event": "stopping"')
    # When what went to their group reaches them, too
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    again = asyncio.get_running_loop().time()
    # Then the last stream still ends with the window
    await asyncio.gather(*(stream.ended() for stream in streams))
    assert max(stream.ended_at or 0 for stream in streams) - again > 1


async def test_each_line_says_which_process_it_is_from(start_api: Callable[..., Api]) -> None:
    # Given two processes that serve
    api = start_api("--workers", "2", TOKENTAIL_API_DRAIN_SECONDS="0")
    pids = set(await one_on_each(api, api.submit()))
    # When both have something to say
    api.running.process.terminate()
    assert await asyncio.to_thread(api.running.wait) == 0
    # Then their lines can be told from each other
    stopping = [json.loads(line) for line in api.running.lines if '"stopping"' in line]
    assert {line["pid"] for line in stopping} == pids


async def test_a_second_signal_ends_both_at_once(start_api: Callable[..., Api]) -> None:
    api = start_api("--workers", "2", before=OWN_GROUP, TOKENTAIL_API_DRAIN_SECONDS="600")
    job_id = api.submit()
    streams = (await one_on_each(api, job_id)).values()
    os.killpg(api.running.pid, signal.SIGINT)
    api.running.wait_for('"event": "stopping"')
    os.killpg(api.running.pid, signal.SIGINT)
    for stream in streams:
        assert (await stream.ended()).is_clean
    assert await asyncio.to_thread(api.running.wait) == 0


async def test_a_signal_before_anybody_serves_ends_it_in_order(start_api: Callable[..., Api]) -> None:
    api = start_api("--workers", "2", before=OWN_GROUP, TOKENTAIL_API_DRAIN_SECONDS="0")
    os.killpg(api.running.pid, signal.SIGINT)
    assert await asyncio.to_thread(api.running.wait) == 0
    assert "Traceback" not in api.running.said


async def test_processes_whose_head_is_killed_end_and_free_the_port(start_api: Callable[..., Api]) -> None:
    api = start_api("--workers", "2", TOKENTAIL_API_DRAIN_SECONDS="600")
    job_id = api.submit()
    streams = (await one_on_each(api, job_id)).values()
    children = children_of(api.running.pid)
    api.running.process.kill()
    for stream in streams:
        assert (await stream.ended()).is_clean
    await eventually(lambda: not any(map(is_alive, children)))


#: Past the command, which looks by itself.
SECOND = """
import sys
from tokentail.api.server import serve
from tokentail.shared.settings import Settings
serve(Settings(redis_url=sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), workers=2)
"""
