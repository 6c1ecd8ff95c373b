"""Reading, listing, cancelling and deleting jobs, and waiting for results."""

from __future__ import annotations

import pytest
from scripted_logs import completed, job, result
from scripted_server import ScriptedServer, hang_up, not_found, problem, reply

from tokentail.client import JobCancelled, JobFailed, JobNotFound
from tokentail.shared.cursor import Cursor

JOB = ("GET", "/v1/jobs/job_1")


def test_a_job_is_read_with_its_result_and_cursor(client, server: ScriptedServer) -> None:
    server.on(*JOB, reply(200, job(status="running", cursor="17-3", result=result("Hel"), later="x")))

    read = client.call("get", "job_1", wait=2)

    assert (read.status, read.text, read.cursor, read.ended) == ("running", "Hel", Cursor(17, 3), False)
    assert read.raw["later"] == "x"
    assert server.requests[0].target == "/v1/jobs/job_1?wait=2"


def test_an_unknown_job_is_not_found(client) -> None:
    with pytest.raises(JobNotFound, match="There is no such job"):
        client.call("get", "job_1")


def test_an_id_can_not_name_another_path(client, server: ScriptedServer) -> None:
    with pytest.raises(JobNotFound):
        client.call("cancel", "a/b?c")

    assert server.requests[0].target == "/v1/jobs/a%2Fb%3Fc/cancel"


def test_jobs_are_listed_a_page_at_a_time(client, server: ScriptedServer) -> None:
    server.on("GET", "/v1/jobs", reply(200, {"data": [job("job_2"), job("job_1")], "next": "x"}))

    page = client.call("list", status="queued", limit=2, after="y")

    assert [one.id for one in page] == ["job_2", "job_1"]
    assert (len(page), page.next) == (2, "x")
    assert server.requests[0].target == "/v1/jobs?status=queued&limit=2&after=y"


def test_cancelling_answers_with_the_job(client, server: ScriptedServer) -> None:
    server.on("POST", "/v1/jobs/job_1/cancel", reply(202, job(status="running")))

    assert client.call("cancel", "job_1").status == "running"


def test_a_delete_whose_answer_is_lost_is_not_mistaken_for_an_unknown_job(
    client, server: ScriptedServer
) -> None:
    server.on("DELETE", "/v1/jobs/job_1", hang_up, not_found)

    assert client.call("delete", "job_1") is None


def test_deleting_an_unknown_job_is_not_found(client) -> None:
    with pytest.raises(JobNotFound):
        client.call("delete", "job_1")


def test_run_waits_for_the_ending_and_returns_what_was_said(client, server: ScriptedServer) -> None:
    server.on("POST", "/v1/jobs", reply(202, job()))
    usage = completed()["usage"]
    server.on(
        *JOB,
        reply(200, job(status="queued")),
        reply(200, job(status="completed", result=result("Hello"), usage=usage, cost_usd=0.5)),
    )

    said = client.call("run", "demo", "Hi")

    assert (said.text, said.finish_reason, said.job_id) == ("Hello", "stop", "job_1")
    assert (said.usage, said.cost_usd) == (usage, 0.5)


def test_waiting_for_a_result_outlasts_lost_connections_and_restarts(client, server: ScriptedServer) -> None:
    server.on(
        *JOB,
        hang_up,
        problem(503, "unavailable"),
        reply(200, job(status="completed", result=result("Hello"))),
    )

    assert client.call("result", "job_1").text == "Hello"


def test_the_result_of_a_failed_job_is_an_error_that_says_why(client, server: ScriptedServer) -> None:
    error = {"code": "idle_timeout", "message": "The model fell silent.", "retryable": True}
    server.on(*JOB, reply(200, job(status="failed", error=error)))

    with pytest.raises(JobFailed, match="The model fell silent") as caught:
        client.call("result", "job_1")
    assert (caught.value.code, caught.value.retryable, caught.value.job_id) == ("idle_timeout", True, "job_1")


def test_the_result_of_a_cancelled_job_is_an_error(client, server: ScriptedServer) -> None:
    server.on(*JOB, reply(200, job(status="cancelled")))

    with pytest.raises(JobCancelled):
        client.call("result", "job_1")
