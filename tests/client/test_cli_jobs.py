"""The commands that read and change jobs, run as the processes that people run."""

from __future__ import annotations

import json

import pytest
from client_commands import LOG, Run
from scripted_logs import EVENTS, job, result
from scripted_server import ScriptedServer, hang_up, problem, reply, stream


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
