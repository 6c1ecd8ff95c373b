"""The load: many followers in one process, on bare epoll, which count events and do nothing with them.

An HTTP client would cost more per event than the servers that it is to measure. Takes commands as lines of
JSON on standard input (`crowd.py` gives them) and answers in lines.
"""

from __future__ import annotations

import os
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from bench.report import percentile

#: What is counted. The events' JSON never holds it.
_MARK = b"data: "
#: Ends of a block that may be the beginning of a mark; the rest is then on its way.
_BEGINNINGS = tuple(_MARK[:length] for length in range(1, len(_MARK)))
#: The producer's clock reading in a delta: nanoseconds of the monotonic clock, which all processes share.
_WRITTEN = re.compile(rb'"content":"(\d+)"')
_ID = re.compile(rb"^id: (\S+)\n(?:event: \S+\n)?data: .*\n\n", re.MULTILINE)

#: More than any server writes at once to a follower that keeps up.
_BLOCK = bytearray(256 * 1024)
_VIEW = memoryview(_BLOCK)

#: One follower of so many has its times taken: enough for a p99, too few to be what is measured.
_SAMPLED_SHARE = 20
#: Followers that connect before anybody waits for the first answers; servers have backlogs.
_BATCH = 200
#: Between two looks at whether all have what they wait for.
_LOOK_SECONDS = 0.01
_ANSWER_SECONDS = 30.0


class Follower:
    """One connection, and what has come over it."""

    __slots__ = ("carry", "count", "cursor", "fresh_at", "is_open", "is_sampled", "path", "socket")

    def __init__(self, path: str, *, is_sampled: bool) -> None:
        self.path = path
        self.is_sampled = is_sampled
        self.count = 0
        self.carry = b""
        self.cursor = b""
        self.is_open = False
        #: When (monotonic) the first event came since it last connected.
        self.fresh_at: float | None = None

    def connect(self, address: tuple[str, int]) -> None:
        """Ask for the events after the newest one that it has seen."""
        self.socket = socket.create_connection(address, _ANSWER_SECONDS)
        self.is_open, self.fresh_at, self.carry = False, None, b""
        cursor = b"Last-Event-ID: %s\r\n" % self.cursor if self.cursor else b""
        self.socket.sendall(
            b"GET %s HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n%s\r\n"
            % (self.path.encode(), cursor)
        )
        self.socket.setblocking(False)

    def read(self, *, keeps_cursor: bool) -> list[float] | None:
        """Take in what has come. Returns the delivery times in it, in ms, if this one is a sample; None at
        the end of the stream, after which what is missing shows in the count."""
        try:
            size = self.socket.recv_into(_BLOCK)
        except ConnectionResetError:
            size = 0
        if not size:
            return None
        if not self.is_open:
            self._open(size)
        count = _BLOCK.count(_MARK, 0, size)
        if self.carry or _BLOCK.endswith(_BEGINNINGS, max(0, size - len(_MARK)), size):
            count += self._across(size)
        self.count += count
        if count and self.fresh_at is None:
            self.fresh_at = time.monotonic()
        if keeps_cursor and (ids := _ID.findall(_VIEW[:size])):
            self.cursor = bytes(ids[-1])
        if not self.is_sampled:
            return []
        now = time.monotonic_ns()
        return [(now - int(written)) / 1e6 for written in _WRITTEN.findall(_VIEW[:size])]

    def _open(self, size: int) -> None:
        self.is_open = True
        if not _BLOCK.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"Refused: {bytes(_BLOCK[: min(size, 500)])!r}")

    def _across(self, size: int) -> int:
        """How many marks lie across the end of the block before; keeps the end of this one."""
        seam = self.carry + bytes(_BLOCK[: min(size, len(_MARK) - 1)])
        end = self.carry + bytes(_BLOCK[max(0, size - len(_MARK) + 1) : size])
        self.carry = next((start for start in reversed(_BEGINNINGS) if end.endswith(start)), b"")
        return seam.count(_MARK)


class Load:
    """All followers of the process. `run` it; it ends with its standard input."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._poll.register(0, select.EPOLLIN)
        self._followers: dict[int, Follower] = {}
        self._address = ("", 0)
        self._keeps_cursor = False
        self._times: list[float] = []
        self._commands = b""

    def run(self) -> None:
        """Read what comes and do what is said."""
        print("load ready", flush=True)
        while (command := self._next_command()) is not None:
            getattr(self, f"_do_{command.pop('do')}")(**command)

    def _next_command(self) -> Any:
        while b"\n" not in self._commands:
            if not self._turn(-1):
                return None
        line, _, self._commands = self._commands.partition(b"\n")
        return orjson.loads(line)

    def _turn(self, seconds: float) -> bool:
        """Wait for something and take it in. Returns whether commands may still come."""
        times, keeps_cursor = self._times, self._keeps_cursor
        for number, _ in self._poll.poll(seconds, len(self._followers) + 1):
            if number:
                if (new := self._followers[number].read(keeps_cursor=keeps_cursor)) is None:
                    self._poll.unregister(number)  # It would be ready for ever.
                elif new:
                    times += new
            elif block := os.read(0, 1 << 20):
                self._commands += block
            else:
                return False
        return True

    def _until(self, is_true: Callable[[], bool], seconds: float) -> bool:
        """Go on until something holds, or for that long."""
        deadline, look = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < deadline:
            if now > look:
                if is_true():
                    return True
                look = now + _LOOK_SECONDS
            self._turn(_LOOK_SECONDS)
        return False

    # Commands

    def _do_open(self, host: str, port: int, paths: Sequence[str], keeps_cursor: bool) -> None:
        """Follow these; answered when every stream is open."""
        self._address, self._keeps_cursor = (host, port), keeps_cursor
        for start in range(0, len(paths), _BATCH):
            for number, path in enumerate(paths[start : start + _BATCH]):
                self._connect(Follower(path, is_sampled=number % _SAMPLED_SHARE == 0))
            self._until_open()
        print(f"opened {len(self._followers)}", flush=True)

    def _connect(self, follower: Follower) -> None:
        follower.connect(self._address)
        self._followers[follower.socket.fileno()] = follower
        self._poll.register(follower.socket, select.EPOLLIN)

    def _until_open(self) -> None:
        if not self._until(lambda: all(f.is_open for f in self._followers.values()), _ANSWER_SECONDS):
            raise RuntimeError("Not every stream was opened.")

    def _do_begin(self) -> None:
        """From here on times are taken."""
        self._times.clear()
        print("begun", flush=True)

    def _do_until(self, count: int, seconds: float) -> None:
        """Answered when every follower has this many events, or after that long."""
        followers = self._followers.values()
        self._until(lambda: all(follower.count >= count for follower in followers), seconds)
        counts = [follower.count for follower in followers]
        times = self._times or [0.0]
        told = {
            "least": min(counts),
            "most": max(counts),
            "p50_ms": percentile(times, 0.5),
            "p99_ms": percentile(times, 0.99),
        }
        print(f"counted {orjson.dumps(told).decode()}", flush=True)

    def _do_return(self) -> None:
        """Drop all connections at once and come back with cursors; answered when each has something new."""
        returning = list(self._followers.values())
        began = time.monotonic()
        self._close_all()
        for follower in returning:
            self._connect(follower)
        if not self._until(lambda: all(follower.fresh_at for follower in returning), _ANSWER_SECONDS):
            raise RuntimeError("Not every follower that came back was told something new.")
        live_ms = (max(follower.fresh_at or 0.0 for follower in returning) - began) * 1000
        print(f"returned {live_ms:.3f}", flush=True)

    def _do_close(self) -> None:
        """Leave."""
        self._close_all()
        print("closed", flush=True)

    def _close_all(self) -> None:
        for follower in self._followers.values():
            follower.socket.close()  # Which also takes it from the poll.
        self._followers = {}


if __name__ == "__main__":
    Load().run()
