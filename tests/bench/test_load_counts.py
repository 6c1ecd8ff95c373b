"""What the benchmark's load counts is what came, or a figure is not reported."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import pytest

from bench.edge.bout import spoiled_by
from bench.edge.crowd import Counted
from bench.edge.load import Follower

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENTS = b"".join(
    b'4d\r\nid: 17-%d\nevent: delta\ndata: {"type":"delta","content":"%d"}\n\n\r\n'
    % (number, time.monotonic_ns())
    for number in range(3)
)


def read_in(pieces: Sequence[bytes]) -> Follower:
    """A follower to whom these came one by one."""
    follower = Follower("/", is_sampled=True)
    server, follower.socket = socket.socketpair()
    with server, follower.socket:
        for piece in pieces:
            server.sendall(piece)
            follower.read(keeps_cursor=True)
    return follower


@pytest.mark.parametrize("cut", range(1, len(EVENTS)))
def test_an_event_counts_once_wherever_the_network_cuts_it(cut: int) -> None:
    # Given three events; When they come in two reads
    follower = read_in([HEAD, EVENTS[:cut], EVENTS[cut:]])
    # Then three are counted
    assert follower.count == 3


def test_an_event_counts_once_if_it_comes_byte_by_byte() -> None:
    assert read_in([HEAD, *(bytes([byte]) for byte in EVENTS)]).count == 3


def test_a_refused_follower_ends_the_measurement() -> None:
    # Given a server that has no room; When a follower reads its answer; Then that is an error, not a silence
    with pytest.raises(RuntimeError, match="503"):
        read_in([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"])


def counted(least: int, most: int) -> Counted:
    return Counted(least=least, most=most, p50_ms=1.0, p99_ms=1.0)


@pytest.mark.parametrize(("least", "most"), [(299, 300), (300, 301)])
def test_a_round_in_which_a_follower_missed_or_doubled_an_event_is_not_reported(
    least: int, most: int
) -> None:
    assert "instead of 300" in (spoiled_by({}, counted(least, most), 300) or "")


@pytest.mark.parametrize("part", ["load", "producer", "Redis"])
def test_a_round_in_which_another_process_was_at_its_limit_is_not_reported(part: str) -> None:
    assert part in (spoiled_by({"server": 0.5, part: 0.95}, counted(300, 300), 300, cores=3) or "")


def test_a_round_in_which_all_beside_the_server_filled_their_cores_is_not_reported() -> None:
    # Given three processes on the cores beside the server's; When none is at its limit, but all together are
    shares = {"load": 0.31, "producer": 0.31, "Redis": 0.31}
    spoiled = spoiled_by(shares, counted(300, 300), 300, cores=1)
    # Then that is said
    assert "load, producer, Redis" in (spoiled or "")


def test_a_busy_server_is_what_is_measured() -> None:
    assert spoiled_by({"server": 1.0, "load": 0.3}, counted(300, 300), 300) is None


def test_a_stream_that_ends_early_shows_in_the_count() -> None:
    # Given a follower that got two of three events; When its server goes away
    follower = Follower("/", is_sampled=False)
    server, follower.socket = socket.socketpair()
    with follower.socket:
        with server:
            server.sendall(HEAD + EVENTS[: EVENTS.rindex(b"4d\r\n")])
        follower.read(keeps_cursor=False)
        # Then that is the end, and two are counted
        assert follower.read(keeps_cursor=False) is None
    assert follower.count == 2
