"""The two-line versions: iterate over text, and never see two answers run together."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scripted_logs import EVENTS, FENCE, attempt, cancelled, completed, delta, failed, job, logged
from scripted_server import ScriptedServer, hang_up, problem, reply, stream

from tokentail.client import InvalidRequest, JobCancelled, JobFailed, Restarted, StreamRestarted

JOBS = ("POST", "/v1/jobs")

FIRST = logged(attempt(), delta("Hal"))
SECOND = logged(attempt(2, "lost"), delta("Hello"), delta("!"), completed(), fence=FENCE + 1)


@pytest.fixture(autouse=True)
def _accepting(server: ScriptedServer) -> None:
    server.on(*JOBS, reply(202, job()))


def test_text_comes_piece_by_piece(client, server: ScriptedServer) -> None:
    calls = {"type": "delta", "tool_calls": [{"index": 0, "id": "c", "name": "f", "arguments": ""}]}
    server.on(*EVENTS, stream(logged(attempt(), delta("a"), calls, delta(""), delta("b"), completed())))

    assert client.stream("demo", "Hi") == ["a", "b"]


def test_a_drop_is_not_noticed(client, server: ScriptedServer) -> None:
    log = logged(attempt(), delta("a"), delta("b"), completed())
    server.on(*EVENTS, stream(log, upto=2, end="drop"), hang_up, stream(log))

    assert client.stream("demo", "Hi") == ["a", "b"]


def test_an_answer_that_begins_again_is_never_run_together_with_the_text_before(
    client, server: ScriptedServer
) -> None:
    server.on(*EVENTS, stream(FIRST + SECOND))
    seen: list[str] = []

    with pytest.raises(StreamRestarted, match="begins again") as caught:
        client.stream("demo", "Hi", into=seen)

    assert seen == ["Hal"]
    assert (caught.value.job_id, caught.value.restarted) == ("job_1", Restarted("lost", 2))


def test_who_can_take_text_back_gets_the_new_answer(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(FIRST + SECOND))
    seen: list[str] = []

    client.stream("demo", "Hi", into=seen, on_restart=lambda _: seen.clear())

    assert seen == ["Hello", "!"]


def test_a_restart_of_nothing_is_not_told_again(client, server: ScriptedServer) -> None:
    silent = logged(attempt(2, "retry"), fence=FENCE + 1)
    third = logged(attempt(3, "retry"), delta("Hello"), completed(), fence=FENCE + 2)
    server.on(*EVENTS, stream(FIRST + silent + third))
    told: list[Restarted] = []

    assert client.stream("demo", "Hi", on_restart=told.append) == ["Hal", "Hello"]
    assert told == [Restarted("retry", 2)]


def test_an_attempt_that_failed_before_its_first_text_is_not_noticed(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(FIRST[:1] + SECOND))

    assert client.stream("demo", "Hi") == ["Hello", "!"]


def test_a_job_that_fails_raises_after_the_text_it_gave(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(logged(attempt(), delta("a"), failed("provider_truncated", "It broke off."))))
    seen: list[str] = []

    with pytest.raises(JobFailed, match=r"It broke off\. \(provider_truncated\)") as caught:
        client.stream("demo", "Hi", into=seen)

    assert seen == ["a"]
    assert (caught.value.code, caught.value.message) == ("provider_truncated", "It broke off.")


def test_a_job_that_is_cancelled_raises(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(logged(cancelled())))

    with pytest.raises(JobCancelled, match="job_1 was cancelled"):
        client.stream("demo", "Hi")


def test_a_refused_submit_raises(client, server: ScriptedServer) -> None:
    server.on(*JOBS, problem(422, "unknown_model", "There is no model 'x'; there are: demo."))

    with pytest.raises(InvalidRequest, match="there are: demo"):
        client.stream("x", "Hi")


def test_a_server_process_that_imports_the_package_does_not_import_httpx() -> None:
    code = "import sys, tokentail, tokentail.shared.events; sys.exit('httpx' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
