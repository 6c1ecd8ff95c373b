"""The client commands, run as the processes that people run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_server import (
    FENCE,
    ScriptedServer,
    attempt,
    cancelled,
    completed,
    delta,
    failed,
    hang_up,
    job,
    logged,
    problem,
    reply,
    result,
    stream,
)

TOKENTAIL = str(Path(sys.executable).with_name("tokentail"))
EVENTS = ("GET", "/v1/jobs/job_1/events")
LOG = logged(attempt(), delta("Hello"), delta(", you"), completed())

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]


def start(server: ScriptedServer, *arguments: str, **options) -> subprocess.Popen[str]:
    """Start the command against the server."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {**os.environ, "TOKENTAIL_URL": server.url, "TZ": "UTC"}
    return subprocess.Popen([TOKENTAIL, *arguments], env=environment, text=True, **pipes)


@pytest.fixture
def run(server: ScriptedServer) -> Run:
    """Run the command to its end; `typed` is piped in."""
    server.on("POST", "/v1/jobs", reply(202, job()))
    server.on("GET", "/v1/jobs/job_1", reply(200, job()))
    server.on(*EVENTS, stream(LOG))

    def run(*arguments: str, typed: str | None = None) -> Ran:
        stdin = subprocess.DEVNULL if typed is None else subprocess.PIPE
        process = start(server, *arguments, stdin=stdin)
        stdout, stderr = process.communicate(typed, timeout=30)
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run


# submit


def test_submit_prints_the_text_alone_on_stdout(run: Run) -> None:
    ran = run("submit", "Hi")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "Hello, you\n", "job job_1\n")


def test_submit_sends_what_its_options_say(run: Run, server: ScriptedServer) -> None:
    options = "--model fast --system Brief. --temperature 0.5 --max-tokens 9 --metadata a=b --metadata c=d=e"
    run("submit", "Hi", *options.split(), "--idempotency-key", "k", "--key", "secret")

    (request,) = server.asked("POST", "/v1/jobs")
    assert request.json == {
        "model": "fast",
        "messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "max_tokens": 9,
        "metadata": {"a": "b", "c": "d=e"},
    }
    assert request.headers["idempotency-key"] == "k"
    assert request.headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("arguments", [["submit"], ["submit", "-"]])
def test_submit_reads_the_prompt_from_a_pipe(run: Run, server: ScriptedServer, arguments: list[str]) -> None:
    run(*arguments, typed="Tell me\na story\n")

    (request,) = server.asked("POST", "/v1/jobs")
    assert request.json["messages"] == [{"role": "user", "content": "Tell me\na story"}]


def test_submit_without_a_prompt_is_a_usage_error(run: Run) -> None:
    ran = run("submit")

    assert ran.returncode == 2
    assert "nothing on stdin" in ran.stderr


def test_metadata_must_be_pairs(run: Run) -> None:
    ran = run("submit", "Hi", "--metadata", "a")

    assert ran.returncode == 2
    assert "'a' is not written as NAME=VALUE" in ran.stderr


@pytest.mark.parametrize("flag", ["--detach", "--no-follow", "-d"])
def test_a_detached_submit_prints_the_id_alone(run: Run, server: ScriptedServer, flag: str) -> None:
    ran = run("submit", "Hi", flag)

    assert (ran.returncode, ran.stdout) == (0, "job_1\n")
    assert server.asked(*EVENTS) == []


def test_json_prints_one_event_a_line_with_its_id(run: Run) -> None:
    ran = run("submit", "Hi", "--json")

    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert events == [{"id": entry_id, **event} for entry_id, event in LOG]


def test_reasoning_and_tool_calls_are_shown_beside_the_text(run: Run, server: ScriptedServer) -> None:
    reasoning = {"type": "delta", "reasoning": "Let me see."}
    call = {"index": 0, "id": "c1", "name": "weather", "arguments": '{"city":'}
    parts = [{"type": "delta", "tool_calls": [part]} for part in (call, {"index": 0, "arguments": '"Ulm"}'})]
    server.on(*EVENTS, stream(logged(attempt(), reasoning, delta("Hm"), *parts, completed("tool_calls"))))

    ran = run("submit", "Hi")

    assert ran.stdout == "Hm\n"
    assert ran.stderr == 'job job_1\nLet me see.\ntool call weather({"city":"Ulm"})\n'


def test_a_cut_off_answer_is_said_to_be_one(run: Run, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(logged(attempt(), delta("Hm"), completed("length"))))

    assert "limit of tokens" in run("submit", "Hi").stderr


def test_a_new_attempt_is_separated_and_printed_from_its_start(run: Run, server: ScriptedServer) -> None:
    again = logged(attempt(2, "lost"), delta("Howdy"), completed(), fence=FENCE + 1)
    server.on(*EVENTS, stream(LOG[:2] + again))

    ran = run("submit", "Hi")

    assert (ran.returncode, ran.stdout) == (0, "Hello\nHowdy\n")
    assert "attempt 2: the worker was lost; the answer begins again" in ran.stderr


def test_a_failed_job_is_one_sentence_and_exit_code_1(run: Run, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(logged(attempt(), delta("Hel"), failed("idle_timeout", "It fell silent."))))

    ran = run("submit", "Hi")

    assert (ran.returncode, ran.stdout) == (1, "Hel\n")
    assert ran.stderr == "job job_1\ntokentail: Job job_1 failed: It fell silent. (idle_timeout)\n"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_cancelled_job_has_an_exit_code_of_its_own(
    run: Run, server: ScriptedServer, options: list[str]
) -> None:
    server.on(*EVENTS, stream(logged(attempt(), cancelled())))

    assert run("submit", "Hi", *options).returncode == 3


def test_a_refused_submit_is_one_sentence(run: Run, server: ScriptedServer) -> None:
    server.on("POST", "/v1/jobs", problem(422, "unknown_model", "There is no model 'x'; there are: demo."))

    ran = run("submit", "Hi", "--model", "x")

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "tokentail: There is no model 'x'; there are: demo.\n"


@pytest.mark.parametrize("command", [["submit", "Hi"], ["follow", "job_1"], ["get", "job_1"], ["list"]])
def test_a_server_that_is_not_there_is_one_sentence_that_says_how_to_start_it(
    run: Run, command: list[str]
) -> None:
    ran = run(*command, "--url", "http://127.0.0.1:1")

    assert (ran.returncode, ran.stdout) == (1, "")
    (sentence,) = ran.stderr.splitlines()
    assert sentence.startswith("tokentail: No tokentail server can be reached at http://127.0.0.1:1")
    assert sentence.endswith("Start one with: tokentail up")


@pytest.mark.parametrize("command", [["submit", "Hi"], ["follow", "job_1"], ["follow", "job_1", "--json"]])
def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_it_again(
    run: Run, server: ScriptedServer, command: list[str]
) -> None:
    server.on(*EVENTS, stream(LOG, upto=3, end="hold"))
    process = start(server, *command)
    assert process.stdout is not None
    # The text's line is not finished yet; it is there as soon as its letters are.
    seen = [process.stdout.readline() for _ in range(3)] if "--json" in command else process.stdout.read(10)
    assert ", you" in "".join(seen)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)

    assert process.returncode == 130
    hint = stderr.splitlines()[-1]
    assert hint.startswith("The job keeps running. Follow it again: tokentail follow job_1 --after ")
    # What was being printed at that moment may be printed again, but never left out.
    assert hint.split()[-1] in {f"{FENCE}-1", f"{FENCE}-2"}
    assert server.asked("POST", "/v1/jobs/job_1/cancel") == []


def test_a_reader_that_has_enough_is_no_error_worth_words(run: Run, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(logged(attempt(), *[delta("line\n") for _ in range(50_000)], completed())))
    process = start(server, "follow", "job_1")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "line\n"

    process.stdout.close()

    assert process.wait(30) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


# follow, get, list, cancel, delete


def test_follow_goes_on_by_itself_after_a_drop(run: Run, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG, upto=2, end="drop"), hang_up, stream(LOG))

    ran = run("follow", "job_1")

    assert (ran.returncode, ran.stdout) == (0, "Hello, you\n")
    assert "Connecting again" in ran.stderr


def test_follow_after_a_cursor_prints_only_the_rest(run: Run, server: ScriptedServer) -> None:
    server.on("GET", "/v1/jobs/job_1", reply(200, job(status="completed", result=result("Hello, you"))))

    ran = run("follow", "job_1", "--after", LOG[1][0])

    assert (ran.returncode, ran.stdout) == (0, ", you\n")


def test_follow_prints_the_whole_answer_also_when_its_log_has_expired(
    run: Run, server: ScriptedServer
) -> None:
    server.on(*EVENTS, problem(410, "log_expired"))
    server.on("GET", "/v1/jobs/job_1", reply(200, job(status="completed", result=result("Hello, you"))))

    ran = run("follow", "job_1")

    assert (ran.returncode, ran.stdout) == (0, "Hello, you\n")


@pytest.mark.parametrize("command", ["follow", "get", "cancel", "delete"])
def test_an_unknown_job_is_one_sentence(run: Run, command: str) -> None:
    ran = run(command, "job_2")

    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "tokentail: There is no such job.\n")


def test_a_malformed_cursor_is_one_sentence(run: Run) -> None:
    ran = run("follow", "job_1", "--after", "x")

    assert ran.returncode == 1
    assert ran.stderr.startswith("tokentail: A cursor is written")


def test_get_prints_a_job_for_people(run: Run, server: ScriptedServer) -> None:
    error = {"code": "idle_timeout", "message": "It fell silent.", "retryable": True}
    server.on(
        "GET", "/v1/jobs/job_1", reply(200, job(status="failed", error=error, result=result("Hel\x1b[2J")))
    )

    ran = run("get", "job_1", "--wait", "5")

    assert ran.returncode == 0
    assert "status    failed\n" in ran.stdout
    assert "error     It fell silent. (idle_timeout)\n" in ran.stdout
    assert ran.stdout.endswith("\n\nHel[2J\n")
    assert server.requests[0].target == "/v1/jobs/job_1?wait=5"


def test_get_prints_the_whole_object_for_programs(run: Run) -> None:
    assert json.loads(run("get", "job_1", "--json").stdout) == job()


def test_list_prints_a_line_for_each_job_and_how_to_see_more(run: Run, server: ScriptedServer) -> None:
    long = "job_" + "x" * 90
    server.on("GET", "/v1/jobs", reply(200, {"data": [job(long), job()], "next": "abc"}))

    ran = run("list", "--status", "queued", "--limit", "2")

    header, first, second = ran.stdout.splitlines()
    assert header.split() == ["job", "status", "model", "created", "attempt"]
    assert first.split() == [long, "queued", "demo", "2025-11-23", "07:00:34", "0"]
    assert second.startswith("job_1 ")
    assert ran.stderr == "There are more: --after abc\n"
    assert server.requests[0].target == "/v1/jobs?status=queued&limit=2"


def test_list_prints_an_object_a_line_for_programs(run: Run, server: ScriptedServer) -> None:
    server.on("GET", "/v1/jobs", reply(200, {"data": [job("job_2"), job()], "next": None}))

    lines = run("list", "--json").stdout.splitlines()

    assert [json.loads(line)["id"] for line in lines] == ["job_2", "job_1"]


def test_cancel_says_whether_the_job_has_ended(run: Run, server: ScriptedServer) -> None:
    server.on(
        "POST",
        "/v1/jobs/job_1/cancel",
        reply(202, job(status="running")),
        reply(200, job(status="cancelled")),
    )

    assert run("cancel", "job_1").stdout == "Job job_1 is being cancelled.\n"
    assert run("cancel", "job_1").stdout == "Job job_1 is cancelled.\n"


def test_delete_says_that_the_job_is_gone(run: Run, server: ScriptedServer) -> None:
    server.on("DELETE", "/v1/jobs/job_1", reply(204))

    assert run("delete", "job_1").stdout == "Job job_1 is deleted.\n"


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout.startswith("tokentail 0.")
