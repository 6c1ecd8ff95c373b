"""Clients that come and go in every way there is, as fast as one thread can."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from processes import PATIENCE_SECONDS

#: Clients that are there at the same moment.
BATCH = 50

_LAST_CHUNK = b"\r\n0\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Jobs:
    """Ids: of one that goes on, one that has ended, and one that takes more than memory has room for."""

    live: str
    ended: str
    long: str


class Client:
    """One connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, PATIENCE_SECONDS)
        self.got = b""

    def ask(self, job_id: str) -> None:
        self.socket.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: edge\r\n\r\n".encode())

    def until(self, words: bytes, count: int = 1) -> None:
        """Read until it has been told these words so often."""
        while self.got.count(words) < count:
            data = self.socket.recv(64 * 1024)
            assert data, f"the connection ended before {words!r} came, after {self.got[-200:]!r}"
            self.got += data

    def reset(self) -> None:
        """Leave without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


Steps = tuple[Callable[[Client, Jobs], None], ...]


def _ask_for(job: str, times: int = 1) -> Callable[[Client, Jobs], None]:
    return lambda client, jobs: [client.ask(getattr(jobs, job)) for _ in range(times)] and None


def _half_close(client: Client, jobs: Jobs) -> None:
    client.socket.shutdown(socket.SHUT_WR)
    while client.socket.recv(64 * 1024):
        pass


#: What one client does before it closes its connection; all of a batch take each step together.
WAYS: dict[str, Steps] = {
    "asks nothing": (),
    "leaves in the middle of asking": (
        lambda client, jobs: client.socket.sendall(b"GET /v1/jobs/x/events HTTP/1.1\r\nHos"),
    ),
    "leaves before the headers": (_ask_for("live"),),
    "is reset before the headers": (_ask_for("live"), lambda client, jobs: client.reset()),
    "leaves in mid-stream": (
        _ask_for("live"),
        lambda client, jobs: client.until(b"event: delta"),
    ),
    "is reset in mid-stream": (
        _ask_for("live"),
        lambda client, jobs: client.until(b"event: delta"),
        lambda client, jobs: client.reset(),
    ),
    "has nothing more to say": (_ask_for("live"), _half_close),
    "stays to the ending": (
        _ask_for("ended"),
        lambda client, jobs: client.until(_LAST_CHUNK),
    ),
    "follows again on the same connection": (
        _ask_for("ended"),
        lambda client, jobs: client.until(_LAST_CHUNK),
        _ask_for("live"),
        lambda client, jobs: client.until(b"HTTP/1.1 200", 2),
    ),
    "asks three times at once": (
        _ask_for("ended", 3),
        lambda client, jobs: client.until(_LAST_CHUNK, 3),
    ),
    # Nothing more is read from its connection, so that it has gone shows when it is written to: at a ping.
    "asks for more while it follows": (
        _ask_for("live", 2),
        lambda client, jobs: client.until(b"event: delta"),
    ),
    "leaves while the log is read again": (
        _ask_for("long"),
        lambda client, jobs: client.until(b"HTTP/1.1 200"),
    ),
    "follows what is not there": (
        lambda client, jobs: client.ask("job_nobody"),
        lambda client, jobs: client.until(b"HTTP/1.1 404"),
        _ask_for("ended"),
        lambda client, jobs: client.until(_LAST_CHUNK),
    ),
}


def churn(address: tuple[str, int], jobs: Jobs, is_enough: Callable[[int], bool]) -> int:
    """Batches of clients, each in its own way, until there were enough; returns how many there were."""
    ways = itertools.cycle(WAYS.values())
    count = 0
    while not is_enough(count):
        batch = [(Client(address), next(ways)) for _ in range(BATCH)]
        for step in range(max(len(steps) for steps in WAYS.values())):
            for client, steps in batch:
                if step < len(steps):
                    steps[step](client, jobs)
        for client, _ in batch:
            client.socket.close()
        count += len(batch)
    return count
