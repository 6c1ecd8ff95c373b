"""One that does not read, among a thousand: it is cut off, loses nothing, and nobody else notices."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h11
import pytest
from api_process import Api
from given import attempt, completed, delta
from processes import PATIENCE_SECONDS, until
from socket_follower import SocketFollower

from tokentail.shared.events import Event

FENCE = 1_763_881_234_567
FOLLOWERS = 1000
#: More than the system takes for one connection whose client reads nothing.
HISTORY: list[Event] = [attempt(), *(delta(f"{n}" + "x" * 10_000) for n in range(1000))]


class Others:
    """Many followers, each told everything before more is said."""

    def __init__(self, followers: list[SocketFollower]) -> None:
        self.followers = followers
        self._selector = selectors.DefaultSelector()
        for follower in followers:
            self._selector.register(follower.socket, selectors.EVENT_READ, follower)

    def have(self, count: int) -> None:
        """Wait until each has been told so many events."""
        missing = {follower for follower in self.followers if len(follower.messages) < count}
        while missing:
            ready = self._selector.select(PATIENCE_SECONDS)
            assert ready, f"{len(missing)} wait for event {count}"
            for key, _ in ready:
                key.data.read()
                if len(key.data.messages) >= count:
                    missing.discard(key.data)

    def close(self) -> None:
        self._selector.close()
        for follower in self.followers:
            follower.close()


@contextmanager
def following(api: Api, job_id: str, after: str) -> Iterator[Others]:
    others = Others([SocketFollower(api.address, job_id, after) for _ in range(FOLLOWERS - 1)])
    try:
        yield others
    finally:
        others.close()


@pytest.fixture(scope="module")
def api(start_api: Callable[..., Api]) -> Api:
    return start_api(TOKENTAIL_SEND_SECONDS="2")


def test_it_is_cut_off_and_resumes_and_the_others_are_told_everything_at_once(api: Api) -> None:
    # Given a log of some length, a client that asks for all of it and reads nothing
    job_id = api.submit()
    api.write(job_id, FENCE, 0, HISTORY)
    stalled = SocketFollower(api.address, job_id, receive_bytes=4096)
    until(lambda: api.metric("followers") == 1, "the stalled one follows")
    # And 999 that have read so far
    seq = len(HISTORY)
    with following(api, job_id, f"{FENCE}-{seq - 1}") as others:
        until(lambda: api.metric("followers") == FOLLOWERS, "all follow")
        # When words come while it stalls, until it is cut off, and some more
        beside = 0
        while api.metric("followers") == FOLLOWERS:
            api.write(job_id, FENCE, seq, [delta(f"word {beside}")])
            seq, beside = seq + 1, beside + 1
            # Then each of the others has each word before the next is said
            others.have(beside)
        assert beside > 0
        assert api.metric("followers") == FOLLOWERS - 1
        api.write(job_id, FENCE, seq, [delta("and more"), completed()])
        others.have(beside + 2)
        # And all of them exactly those, on their first connection
        due = [f"{FENCE}-{number}" for number in range(len(HISTORY), seq + 2)]
        assert all([message.id for message in it.messages] == due for it in others.followers)
    # And the one that stalled has got a part without a gap
    with pytest.raises((ConnectionResetError, h11.RemoteProtocolError)):
        stalled.until(lambda it: it.is_over)
    stalled.close()
    got = [message.id for message in stalled.messages]
    assert got == [f"{FENCE}-{number}" for number in range(len(got))]
    assert 0 < len(got) < len(HISTORY)
    # And the rest, when it comes back
    again = SocketFollower(api.address, job_id, got[-1])
    again.until(lambda it: it.is_over)
    again.close()
    rest = [message.id for message in again.messages]
    assert got + rest == [f"{FENCE}-{number}" for number in range(seq + 2)]
