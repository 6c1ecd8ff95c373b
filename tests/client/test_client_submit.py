"""Submitting: one job however often the request has to be sent, and refusals that explain themselves."""

from __future__ import annotations

import pytest
from scripted_logs import job
from scripted_server import ScriptedServer, hang_up, problem, reply

from tokentail import Client
from tokentail.client import (
    ConnectionLost,
    FieldError,
    IdempotencyConflict,
    InvalidRequest,
    NotAuthorized,
    ProtocolError,
    ServerBusy,
    ServerUnreachable,
)
from tokentail.shared import errors

JOBS = ("POST", "/v1/jobs")


def test_a_text_is_submitted_as_one_user_message(client, server: ScriptedServer) -> None:
    server.on(*JOBS, reply(202, job()))

    submitted = client.call("submit", "demo", "Hi", temperature=0.5, seed=None, metadata={"a": "b"})

    (request,) = server.requests
    assert submitted.id == "job_1"
    assert request.json == {
        "model": "demo",
        "messages": [{"role": "user", "content": "Hi"}],
        "metadata": {"a": "b"},
        "temperature": 0.5,
    }


def test_the_key_is_sent_as_a_bearer_token(client, server: ScriptedServer) -> None:
    server.on(*JOBS, reply(202, job()))
    client.key = "secret"

    client.call("submit", "demo", "Hi")

    assert server.requests[0].headers["authorization"] == "Bearer secret"


def test_url_and_key_come_from_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on(*JOBS, reply(202, job()))
    monkeypatch.setenv("TOKENTAIL_URL", server.url)
    monkeypatch.setenv("TOKENTAIL_KEY", "from outside")

    with Client() as client:
        client.submit("demo", "Hi")

    assert server.requests[0].headers["authorization"] == "Bearer from outside"


def test_a_submit_whose_answer_is_lost_is_repeated_under_the_same_key(client, server: ScriptedServer) -> None:
    server.on(*JOBS, hang_up, hang_up, reply(200, job()))

    assert client.call("submit", "demo", "Hi").id == "job_1"

    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_submits_never_share_a_key(client, server: ScriptedServer) -> None:
    server.on(*JOBS, reply(202, job()))

    client.call("submit", "demo", "Hi")
    client.call("submit", "demo", "Hi")

    first, second = (request.headers["idempotency-key"] for request in server.requests)
    assert first != second


def test_an_own_idempotency_key_is_used_as_it_is(client, server: ScriptedServer) -> None:
    server.on(*JOBS, reply(202, job()))

    client.call("submit", "demo", "Hi", idempotency_key="order-7")

    assert server.requests[0].headers["idempotency-key"] == "order-7"


@pytest.mark.parametrize("key", ["", "an order", "größe", "a\nb"])
def test_an_own_idempotency_key_that_no_header_can_hold_is_refused(
    client, server: ScriptedServer, key: str
) -> None:
    with pytest.raises(InvalidRequest, match="Idempotency-Key: must be 1 to 255 visible ASCII"):
        client.call("submit", "demo", "Hi", idempotency_key=key)

    assert not server.requests


def test_a_submit_whose_answer_is_lost_every_time_raises(client, server: ScriptedServer) -> None:
    server.on(*JOBS, hang_up)

    with pytest.raises(ConnectionLost, match="was lost"):
        client.call("submit", "demo", "Hi")
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(client, server: ScriptedServer, status: int) -> None:
    server.on(*JOBS, problem(status, "queue_full", headers={"retry_after": "0"}), reply(202, job()))

    assert client.call("submit", "demo", "Hi").id == "job_1"


def test_a_proxy_whose_server_is_away_is_asked_again(client, server: ScriptedServer) -> None:
    server.on(*JOBS, reply(502, "<html>"), reply(202, job()))

    assert client.call("submit", "demo", "Hi").id == "job_1"


def test_a_server_that_is_busy_for_long_is_not_waited_for(client, server: ScriptedServer) -> None:
    server.on(*JOBS, problem(503, "queue_full", "The queue is full.", headers={"retry_after": "3600"}))

    with pytest.raises(ServerBusy, match="The queue is full") as caught:
        client.call("submit", "demo", "Hi")
    assert caught.value.retry_after_seconds == 3600
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_told_at_once(client, server: ScriptedServer) -> None:
    """Nothing was sent, so nothing is in doubt; and somebody may be waiting at a terminal."""
    client.url = "http://127.0.0.1:1"

    with pytest.raises(ServerUnreachable, match=r"No tokentail server can be reached at http://127.0.0.1:1"):
        client.call("submit", "demo", "Hi")


def test_a_refused_request_names_every_problem(client, server: ScriptedServer) -> None:
    wrong = [{"pointer": "/messages/0/role", "message": "is unknown"}, {"pointer": "", "message": "no model"}]
    server.on(
        *JOBS,
        problem(422, "invalid_request", "Invalid.", errors=wrong, headers={"x_request_id": "r1"}),
    )

    with pytest.raises(InvalidRequest, match="not valid: /messages/0/role: is unknown; no model") as caught:
        client.call("submit", "demo", "Hi")

    error = caught.value
    assert (error.status, error.code, error.request_id) == (422, "invalid_request", "r1")
    assert error.errors == (FieldError("/messages/0/role", "is unknown"), FieldError("", "no model"))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "invalid_json", InvalidRequest),
        (401, "unauthorized", NotAuthorized),
        (409, "idempotency_conflict", IdempotencyConflict),
        (409, "idempotency_conflict", errors.IdempotencyConflict),
        (413, "too_large", InvalidRequest),
        (422, "unknown_model", InvalidRequest),
        (404, "not_found", errors.JobNotFound),
    ],
)
def test_each_refusal_has_its_class(
    client, server: ScriptedServer, status: int, code: str, error: type[Exception]
) -> None:
    server.on(*JOBS, problem(status, code))

    with pytest.raises(error) as caught:
        client.call("submit", "demo", "Hi")
    assert caught.value.code == code


@pytest.mark.parametrize("answer", [reply(200, ["not a job"]), reply(200), reply(404, {"message": "nginx"})])
def test_another_kind_of_server_is_recognized(client, server: ScriptedServer, answer) -> None:
    server.on(*JOBS, answer)

    with pytest.raises(ProtocolError, match="check the address"):
        client.call("submit", "demo", "Hi")


@pytest.mark.parametrize("key", ["größe", "a\nb"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(errors.ConfigError, match="API key") as caught:
        Client(key=key)

    assert key not in str(caught.value)


def test_a_password_in_the_address_is_never_shown(client, server: ScriptedServer) -> None:
    server.on(*JOBS, hang_up)
    client.url = server.url.replace("//", "//me:hunter2@")

    with pytest.raises(ConnectionLost, match=server.url) as caught:
        client.call("submit", "demo", "Hi")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://a:b:c"])
def test_an_address_that_is_none_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(errors.ConfigError, match="is not the address of a server"):
        Client(url)
