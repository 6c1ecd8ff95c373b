"""Following: every entry once and in order, whatever the network does, until the ending."""

from __future__ import annotations

import threading

import pytest
from scripted_logs import EVENTS, FENCE, GREETING, attempt, completed, contents, delta, logged
from scripted_server import Exchange, ScriptedServer, hang_up, problem, reply, stream, watched

from tokentail.client import (
    JobNotFound,
    MalformedCursor,
    ProtocolError,
    ServerUnreachable,
)

LOG = GREETING


def as_logged(entries) -> list:
    return [(str(entry.cursor), entry.event) for entry in entries]


def test_every_event_comes_with_its_cursor(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG))

    assert as_logged(client.events("job_1")) == LOG


def test_bytes_may_be_cut_anywhere(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG, step=1))

    assert as_logged(client.events("job_1")) == LOG


@pytest.mark.parametrize("end", ["clean", "drop"])
@pytest.mark.parametrize("upto", range(len(LOG)))
def test_a_connection_that_ends_after_any_entry_is_taken_up_again(
    client, server: ScriptedServer, upto: int, end: str
) -> None:
    server.on(*EVENTS, stream(LOG, upto=upto, end=end), stream(LOG))

    assert as_logged(client.events("job_1")) == LOG

    assert server.requests[-1].headers.get("last-event-id") == (LOG[upto - 1][0] if upto else None)


def test_following_from_a_cursor_gives_what_comes_after_it(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG))

    assert as_logged(client.events("job_1", f"{FENCE}-2")) == LOG[3:]


def test_following_from_the_ending_ends_at_once(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, reply(204))

    assert client.events("job_1", LOG[-1][0]) == []


def test_a_follower_is_ended_by_the_ending_not_by_the_connection(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG, end="hold"))

    assert len(client.events("job_1")) == len(LOG)


def test_a_connection_that_falls_silent_is_given_up_for_a_new_one(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG, upto=2, end="hold"), stream(LOG))

    assert as_logged(client.events("job_1")) == LOG


def test_refused_connections_and_busy_answers_are_outlasted(client, server: ScriptedServer) -> None:
    server.on(
        *EVENTS,
        stream(LOG, upto=2, end="drop"),
        hang_up,
        problem(503, "unavailable"),
        reply(502, "<html>"),
        stream(LOG),
    )

    assert as_logged(client.events("job_1")) == LOG


def test_a_server_that_stays_away_is_given_up(client) -> None:
    client.url = "http://127.0.0.1:1"

    with pytest.raises(ServerUnreachable):
        client.events("job_1")


def test_a_job_that_is_gone_ends_the_following(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG, upto=2, end="drop"), problem(404, "not_found"))

    with pytest.raises(JobNotFound):
        client.events("job_1")


def test_a_malformed_cursor_is_refused_before_anything_is_sent(client, server: ScriptedServer) -> None:
    with pytest.raises(MalformedCursor):
        client.events("job_1", "yesterday")
    assert server.requests == []


@pytest.mark.parametrize(
    "broken",
    [
        [LOG[0], LOG[2]],
        [LOG[1]],
        [LOG[0], LOG[0]],
        [LOG[0], LOG[1], *logged(attempt(2), fence=FENCE - 1)],
        [LOG[0], *logged(attempt(2), delta("x"), fence=FENCE + 1)[1:]],
        [LOG[0], 'id: 1-1-1\ndata: {"type":"delta"}\n\n'],
        [LOG[0], f"id: {FENCE}-1\ndata: no json\n\n"],
        [LOG[0], f"id: {FENCE}-1\ndata: []\n\n"],
        [LOG[0], 'data: {"type":"delta","content":"x"}\n\n'],
    ],
    ids=["gap", "no start", "twice", "old fence", "new fence", "odd id", "no json", "no object", "no id"],
)
def test_a_broken_log_is_read_again_from_the_last_good_entry(client, server: ScriptedServer, broken) -> None:
    server.on(*EVENTS, stream(broken), stream(LOG))

    assert as_logged(client.events("job_1")) == LOG


def test_a_log_that_stays_broken_is_an_error_not_a_loop(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream([LOG[0], LOG[2]], end="hold"))

    with pytest.raises(ProtocolError, match=f"entry {FENCE}-2 after {FENCE}-0"):
        client.events("job_1")


def test_a_log_that_is_reset_and_broken_again_and_again_is_an_error_not_a_loop(
    client, server: ScriptedServer
) -> None:
    server.on(*EVENTS, stream(['data: {"type":"reset","requested":"1-1"}\n\n', LOG[0], LOG[2]], deaf=True))

    with pytest.raises(ProtocolError):
        client.events("job_1")


def test_another_kind_of_server_is_recognized_by_its_answer(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, reply(200, {"hello": "world"}))

    with pytest.raises(ProtocolError, match="not an event stream"):
        client.events("job_1")


def test_events_that_are_newer_than_this_client_are_passed_on_and_do_no_harm(
    client, server: ScriptedServer
) -> None:
    log = [LOG[0], 'data: {"type":"weather"}\n\n', *logged({}, {"type": "mood"}, delta("x"), completed())[1:]]
    server.on(*EVENTS, stream(log))

    followed = client.follow("job_1")

    assert contents(followed.items) == ["x"]


def test_a_connection_of_no_more_use_is_closed_before_the_next(client, server: ScriptedServer) -> None:
    let_go = threading.Event()

    def next_connection(exchange: Exchange) -> None:
        assert let_go.wait(30)
        stream(LOG)(exchange)

    server.on(*EVENTS, watched(stream([LOG[0], LOG[2]], end="drop"), let_go), next_connection)

    assert as_logged(client.events("job_1")) == LOG


def test_a_proxy_is_not_asked_for_this_machine(
    client, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.on(*EVENTS, stream(LOG))

    assert as_logged(client.events("job_1")) == LOG
