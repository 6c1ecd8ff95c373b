"""The command `submit`, run as the process that people run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from client_commands import LOG, PATIENCE_SECONDS, TOKENTAIL, Run, answer_in_full, start
from scripted_logs import EVENTS, FENCE, attempt, cancelled, completed, delta, failed, job, logged
from scripted_server import ScriptedServer, problem, reply, stream


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


def test_submit_says_so_while_it_waits_for_a_full_queue(run: Run, server: ScriptedServer) -> None:
    full = problem(503, "queue_full", "The queue is full; try again later.", headers={"retry_after": "0"})
    server.on("POST", "/v1/jobs", full, reply(202, job()))

    ran = run("submit", "Hi", "--detach")

    assert (ran.returncode, ran.stdout) == (0, "job_1\n")
    assert "The queue is full; try again later. Trying again in" in ran.stderr


def test_submit_without_a_prompt_is_a_usage_error(run: Run) -> None:
    ran = run("submit")

    assert ran.returncode == 2
    assert "nothing on stdin" in ran.stderr


def test_submit_of_an_empty_prompt_is_a_usage_error(run: Run) -> None:
    ran = run("submit", " ")

    assert ran.returncode == 2
    assert "it is empty" in ran.stderr


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


def test_an_address_that_is_none_is_one_sentence_and_a_usage_error(run: Run) -> None:
    ran = run("submit", "Hi", "--url", "localhost:8000")

    assert ran.returncode == 2
    assert ran.stderr.startswith("tokentail: 'localhost:8000' is not the address of a server")


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
    _, stderr = process.communicate(timeout=PATIENCE_SECONDS)

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

    assert process.wait(PATIENCE_SECONDS) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_prompt_that_is_no_text_is_refused(run: Run, server: ScriptedServer) -> None:
    piped = start(server, "submit", stdin=subprocess.PIPE, text=False)
    _, stderr = piped.communicate(b"a\xff", timeout=PATIENCE_SECONDS)
    typed = run("submit", os.fsdecode(b"a\xff"))

    assert (piped.returncode, typed.returncode) == (2, 1)
    assert b"stdin is not UTF-8 text" in stderr
    assert typed.stderr == "tokentail: The command line is not UTF-8 text.\n"
    assert not server.requests


def test_a_full_disk_is_said_in_one_sentence(server: ScriptedServer) -> None:
    answer_in_full(server)

    with Path("/dev/full").open("w") as full:
        process = start(server, "submit", "Hi", stdout=full)
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 1
    assert stderr == "job job_1\ntokentail: The output can't be written: No space left on device.\n"


def test_closed_streams_are_no_error(server: ScriptedServer) -> None:
    answer_in_full(server)
    environment = {**os.environ, "TOKENTAIL_URL": server.url}
    command = shlex.join([TOKENTAIL, "submit", "Hi"])

    ran = subprocess.run(
        ["sh", "-c", f"{command} <&- >&-"],
        check=False,
        env=environment,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
    )

    assert (ran.returncode, ran.stderr) == (0, b"job job_1\n")
