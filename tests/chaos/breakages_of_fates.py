"""Ways in which jobs must not end, and clients not be answered."""

from __future__ import annotations

from breakages import altered, breaks, cancelled, fail_with, survivor, tool_calls, unlucky
from histories import CREATED, DEADLINE, incident

from chaos import faults
from chaos.history import History


@breaks("one_submission_is_one_job", "a repeated submit made a second job")
def _(history: History) -> None:
    record = cancelled(history).record
    record["metadata"] = '{"name": "job 1"}'
    history.submissions[2].answers.clear()


@breaks("one_submission_is_one_job", "an accepted job is not there")
def _(history: History) -> None:
    del history.jobs[survivor(history).id]


@breaks("one_submission_is_one_job", "a job is there that nobody asked for")
def _(history: History) -> None:
    history.submissions.pop(0)


@breaks("one_submission_is_one_job", "a submit was answered with a bug of ours")
def _(history: History) -> None:
    history.submissions[0].answers.append((500, None))


@breaks("what_was_deleted_is_gone", "a job that was deleted is still there")
def _(history: History) -> None:
    history.submissions[0].delete_asked = history.submissions[0].deleted = True


@breaks("what_was_deleted_is_gone", "a job is gone that nobody deleted")
def _(history: History) -> None:
    history.submissions[4].delete_asked = history.submissions[4].deleted = False


@breaks("endings_have_their_reasons", "a job was cancelled and nobody had asked for it")
def _(history: History) -> None:
    history.submissions[2].cancel_asked = False


@breaks("endings_have_their_reasons", "a job completed whose provider never finishes")
def _(history: History) -> None:
    history.submissions[0].model = "truncated"


@breaks("endings_have_their_reasons", "a healthy job failed and nothing had happened to it")
def _(history: History) -> None:
    fail_with(tool_calls(history), "provider_error")


@breaks("endings_have_their_reasons", "a job was given up after the loss of one worker")
def _(history: History) -> None:
    fail_with(tool_calls(history), "worker_lost")


@breaks("endings_have_their_reasons", "a deploy counted as a crash")
def _(history: History) -> None:
    history.incidents.append(incident(faults.WORKER_DEPLOY))
    fail_with(tool_calls(history), "worker_lost")


@breaks("endings_have_their_reasons", "a job failed for trouble that was over long before it")
def _(history: History) -> None:
    history.incidents.append(incident("provider-cut", CREATED - 60_000, CREATED - 50_000))
    fail_with(tool_calls(history), "attempts_exhausted")


@breaks("endings_have_their_reasons", "a job failed at its deadline before that had come")
def _(history: History) -> None:
    assert int(tool_calls(history).record["ended"]) < DEADLINE
    fail_with(tool_calls(history), "deadline_exceeded")


@breaks("endings_have_their_reasons", "a job that was to restart failed at its provider's first mistake")
def _(history: History) -> None:
    assert unlucky(history).record["status"] == "failed"
    history.submissions[3].on_interruption = "restart"


@breaks("endings_have_their_reasons", "a job failed by a bug of ours")
def _(history: History) -> None:
    fail_with(tool_calls(history), "internal")


@breaks("deploys_hand_over", "a job was handed over and nobody had told a worker to stop")
def _(history: History) -> None:
    log = survivor(history).log
    log[4] = altered(log[4], reason="handoff")


@breaks("nothing_odd_is_seen", "a client got a 500")
def _(history: History) -> None:
    history.oddities.append("GET /v1/jobs/… was answered 500")
