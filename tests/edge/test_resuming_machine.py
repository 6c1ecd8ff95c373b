"""Whatever is written, followed, dropped and let go of in whatever order: every cursor resumes the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from api_process import Api
from given import attempt, completed, delta
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from socket_follower import SocketFollower

#: Room for a few entries: a log that is followed is let go of with nearly each read, and one that nobody
#: follows is forgotten as soon as another one is read.
MAX_TAIL_BYTES = 1024


@dataclass
class Job:
    """What was written to a log: (id, event) of each entry."""

    id: str
    log: list[tuple[str, Any]] = field(default_factory=list)
    fence: int = 1_763_881_234_567
    #: Of the entry to be written next.
    seq: int = 0
    has_ended: bool = False


@dataclass
class Reader:
    """A client, and what it has to be told on this connection, so far and in the end."""

    job: Job
    socket: SocketFollower
    start: int
    #: The cursor that it came with, if that was never in the log.
    astray: str | None

    @property
    def due(self) -> list[tuple[str, Any]]:
        told = [("", {"type": "reset", "requested": self.astray})] if self.astray else []
        return told + self.job.log[self.start :]

    @property
    def told(self) -> list[tuple[str, Any]]:
        return [(message.id, orjson.loads(message.data)) for message in self.socket.messages]


class Machine(RuleBasedStateMachine):
    def __init__(self, api: Api) -> None:
        super().__init__()
        self.api = api
        self.jobs: list[Job] = []
        self.readers: list[Reader] = []

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.jobs = [Job(self.api.submit()) for _ in range(count)]

    def teardown(self) -> None:
        """Every log ends, and everybody has been told the rest of it, and nothing else."""
        try:
            for job in self.jobs:
                self._write(job, [completed()])
                job.has_ended = True
            for reader in self.readers:
                reader.socket.until(lambda it: it.is_over)
                assert reader.told == reader.due
        finally:
            for reader in self.readers:
                reader.socket.close()

    # Choosing

    def job(self, data: st.DataObject) -> Job:
        return data.draw(st.sampled_from(self.jobs), label="job")

    def reader(self, data: st.DataObject) -> Reader:
        return data.draw(st.sampled_from(self.readers), label="reader")

    # Writing

    def _write(self, job: Job, log: list[Any]) -> None:
        if not job.has_ended:
            self.api.write(job.id, job.fence, job.seq, log)
            job.log += [(f"{job.fence}-{seq}", event) for seq, event in enumerate(log, job.seq)]
            job.seq += len(log)

    @rule(data=st.data(), count=st.integers(1, 40), length=st.sampled_from([1, 30, 700]))
    def write(self, data: st.DataObject, count: int, length: int) -> None:
        job = self.job(data)
        self._write(job, [delta(f"{number:03}" * length) for number in range(count)])

    @rule(data=st.data())
    def begin_anew(self, data: st.DataObject) -> None:
        job = self.job(data)
        job.fence, job.seq = job.fence + 7, 0
        self._write(job, [attempt(2, "lost")])

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        job = self.job(data)
        self._write(job, [completed()])
        job.has_ended = True

    # Following

    def _follow(self, job: Job, after: str | None, start: int, *, astray: bool = False) -> None:
        # One that has the ending may be told 204, or nothing.
        if not job.has_ended or start < len(job.log):
            socket = SocketFollower(self.api.address, job.id, after)
            self.readers.append(Reader(job, socket, start, after if astray else None))

    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        job = self.job(data)
        start = data.draw(st.integers(0, len(job.log)), label="start")
        self._follow(job, job.log[start - 1][0] if start else None, start)

    @rule(data=st.data())
    def follow_astray(self, data: st.DataObject) -> None:
        job = self.job(data)
        cursors = ["1-1", f"{job.fence}-1000000", f"{job.fence + 3}-0"]
        self._follow(job, data.draw(st.sampled_from(cursors), label="cursor"), 0, astray=True)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        reader = self.reader(data)
        reader.socket.read_what_is_there()
        assert reader.told == reader.due[: len(reader.told)]

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def catch_up(self, data: st.DataObject) -> None:
        """What is written arrives without anything more being written."""
        reader = self.reader(data)
        reader.socket.until(lambda it: len(it.messages) >= len(reader.due))
        assert reader.told == reader.due

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        reader = self.reader(data)
        reader.socket.read_what_is_there()
        assert reader.told == reader.due[: len(reader.told)]
        reader.socket.close()
        self.readers.remove(reader)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def drop_and_come_back(self, data: st.DataObject) -> None:
        reader = self.reader(data)
        reader.socket.read_what_is_there()
        assert reader.told == reader.due[: len(reader.told)]
        if reader.told == reader.due and reader.job.has_ended:
            return  # It would have no reason to.
        reader.socket.close()
        if reader.told:
            reader.start += len(reader.told) - (reader.astray is not None)
            reader.astray = None
        after = reader.job.log[reader.start - 1][0] if reader.start else reader.astray
        reader.socket = SocketFollower(self.api.address, reader.job.id, after)


@pytest.mark.parametrize("max_tail_bytes", [MAX_TAIL_BYTES, None], ids=["no room", "room"])
def test_every_cursor_resumes_the_rest_whatever_happens(
    start_api: Callable[..., Api], max_tail_bytes: int | None
) -> None:
    api = start_api(**({"TOKENTAIL_MAX_TAIL_BYTES": str(max_tail_bytes)} if max_tail_bytes else {}))
    run_state_machine_as_test(
        lambda: Machine(api), settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
