"""What followers are sent is HTTP and an event stream, by everybody's reading and however it is cut."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from api_process import Api
from eventstream import Answers, Message, as_a_browser, as_httpx_sse
from given import attempt, completed, delta
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import PATIENCE_SECONDS
from socket_follower import SocketFollower

from tokentail.shared import keys

FENCE = 1_763_881_234_567

#: Any text, and what would mean something if it were not inside of JSON.
TEXTS = st.text() | st.sampled_from(
    [
        "\n\n",
        "\r",
        "\r\n0\r\n\r\n",
        "\u2028\u2029\x85",
        "\ufeff",
        "\0",
        "data: x",
        ":",
        "🦊" * 50,
        "x" * 70_000,
    ]
)
DELTAS = st.builds(
    lambda name, text: {"type": "delta", name: text},
    st.sampled_from(["content", "reasoning", "refusal"]),
    TEXTS,
) | st.builds(
    lambda text: {"type": "delta", "tool_calls": [{"index": 0, "id": text, "arguments": text}]}, TEXTS
)
ENDINGS = st.one_of(
    st.just(completed()),
    st.builds(
        lambda text: {
            "type": "failed",
            "error": {"code": "x", "message": text, "retryable": True},
            "usage": None,
        },
        TEXTS,
    ),
    st.builds(lambda text: {"type": "cancelled", "reason": text, "usage": None}, TEXTS),
)


@pytest.fixture(scope="module")
def api(start_api: Callable[..., Api]) -> Api:
    return start_api()


def cut(data: bytes, dice: random.Random) -> list[bytes]:
    """The same bytes in pieces: of one byte each, or of any length."""
    if dice.random() < 0.2 and len(data) < 10_000:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted({dice.randrange(1, len(data)) for _ in range(dice.randrange(20))})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def in_redis(api: Api, job_id: str) -> list[Message]:
    """A log as it is stored."""
    return [
        Message(entry_id.decode(), orjson.loads(fields[b"e"])["type"], fields[b"e"].decode())
        for entry_id, fields in api.redis.xrange(keys.log(job_id))
    ]


@given(
    deltas=st.lists(DELTAS, max_size=12),
    ending=ENDINGS,
    before=st.integers(0, 13),
    dice=st.randoms(use_true_random=False),
)
@example(deltas=[], ending=completed(), before=0, dice=random.Random(0))
@settings(max_examples=60)
def test_any_events_are_read_as_they_are_stored_however_the_bytes_are_cut(
    api: Api, deltas: list[Any], ending: Any, before: int, dice: random.Random
) -> None:
    # Given a log of any events, of which some are there when a client comes
    log = [attempt(), *deltas, ending]
    job_id = api.submit()
    api.write(job_id, FENCE, 0, log[:before])
    follower = SocketFollower(api.address, job_id)
    try:
        # And others come while it reads
        for seq in range(min(before, len(log)), len(log)):
            api.write(job_id, FENCE, seq, log[seq : seq + 1])
            if dice.random() < 0.5:
                follower.until(lambda it, count=seq + 1: len(it.messages) == count)  # type: ignore[misc]
        follower.until(lambda it: it.is_over)
    finally:
        follower.close()
    # When what came over the socket is read again, cut anywhere
    stored = in_redis(api, job_id)
    assert len(stored) == len(log)
    for _ in range(3):
        answers = Answers("/")
        bodies = [answers.feed(piece) for piece in cut(follower.raw, dice)]
        # Then it is one whole answer, and holds the log's ids, types and data, each once and nothing else
        assert (answers.status, answers.is_over) == (200, True)
        messages, retry_ms = as_a_browser(bodies)
        assert messages == stored
        assert retry_ms is not None
        # And other cuts, through the event stream itself, change nothing for any reader
        bodies = cut(b"".join(bodies), dice)
        assert as_a_browser(bodies)[0] == stored
        assert as_httpx_sse(bodies) == stored


def test_a_sign_of_life_between_events_is_no_event_for_anybody(start_api: Callable[..., Api]) -> None:
    # Given an API that pings soon, and a log of which each event is followed by a ping
    api = start_api(TOKENTAIL_PING_SECONDS="0.05")
    log = [attempt(), delta("a"), delta("b"), completed()]
    job_id = api.submit()
    follower = SocketFollower(api.address, job_id)
    follower.until(lambda it: b": ping" in it.raw)
    for seq, event in enumerate(log):
        api.write(job_id, FENCE, seq, [event])
        so_far = follower.raw.count(b": ping")
        follower.until(lambda it: it.is_over or it.raw.count(b": ping") > so_far)  # noqa: B023
    follower.close()
    assert follower.raw.count(b": ping") >= len(log)
    # Then everybody reads the log, and nothing else
    stored = in_redis(api, job_id)
    answers = Answers("/")
    body = answers.feed(follower.raw)
    assert answers.is_over
    for bodies in ([body], [body[at : at + 1] for at in range(len(body))]):
        assert as_a_browser(bodies)[0] == as_httpx_sse(bodies) == stored


def test_requests_that_come_at_once_are_answered_in_their_order(api: Api) -> None:
    # Given three jobs that have something to say
    jobs = [api.submit() for _ in range(3)]
    for number, job_id in enumerate(jobs):
        api.write(job_id, FENCE, 0, [attempt(), delta(f"answer {number}"), completed()])
    # When a client asks for them with one write
    with socket.create_connection(api.address, PATIENCE_SECONDS) as client:
        client.sendall(b"".join(Answers(f"/v1/jobs/{job_id}/events").request for job_id in jobs))
        raw = b""
        while raw.count(b"\r\n0\r\n\r\n") < len(jobs):
            data = client.recv(64 * 1024)
            assert data
            raw += data
    # Then it is told each log whole, one after the other
    answers = raw.split(b"HTTP/1.1 200 OK\r\n")[1:]
    for job_id, answer in zip(jobs, answers, strict=True):
        body = Answers("/").feed(b"HTTP/1.1 200 OK\r\n" + answer)
        assert as_a_browser([body])[0] == in_redis(api, job_id)
