"""The checker finds nothing in a good history, and notices each way to break one."""

from __future__ import annotations

import breakages_of_fates
import breakages_of_jobs
import breakages_of_runs
import pytest
from breakages import BREAKAGES, Breakage, fail_with, survivor, tool_calls
from histories import CREATED, RESET, good_history, incident

from chaos import faults
from chaos.checker import JOB_RULES, RUN_RULES, check
from chaos.history import Entry, Follower

# They register what they hold.
assert breakages_of_fates
assert breakages_of_jobs
assert breakages_of_runs


def test_a_good_history_has_no_violation() -> None:
    # Given jobs that survived, used tools, were cancelled, failed by their provider and were deleted
    history = good_history()
    # When it is checked; Then nothing is found
    assert check(history) == []


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: f"{breakage.rule}: {breakage.what}")
def test_the_rule_notices(breakage: Breakage) -> None:
    # Given a good history in which one thing is broken
    history = good_history()
    breakage.do(history)
    # When it is checked; Then the rule that this thing is about says so
    assert breakage.rule in {violation.rule for violation in check(history)}


def test_every_rule_has_been_seen_to_notice_something() -> None:
    # Given all rules; Then there is a breakage for each
    assert {rule.__name__ for rule in (*JOB_RULES, *RUN_RULES)} == {one.rule for one in BREAKAGES}


def test_a_violation_names_its_rule_and_its_job() -> None:
    # Given a log that lacks an entry
    history = good_history()
    missing = survivor(history).log.pop(2)
    # When it is checked; Then the violation can be read without the code
    (violation, *_) = [one for one in check(history) if one.rule == "sequences_are_dense"]
    assert survivor(history).id in str(violation)
    assert str(missing.id) in str(violation)
    assert "[sequences_are_dense]" in str(violation)


def test_what_redis_lost_may_be_seen_if_a_reset_takes_it_back() -> None:
    # Given a follower that was ahead of a log which then lost its tail, and was told so
    history = good_history()
    job = survivor(history)
    lost = Entry(f"{job.log[0].id}".replace("-0", "-4"), {"type": "delta", "content": "lost "})
    job.followers.append(Follower("ahead", [*job.log[:4], lost, RESET, *job.log], finished=True))
    # When it is checked; Then that is no violation
    assert check(history) == []


@pytest.mark.parametrize(
    ("code", "met"),
    [
        ("attempts_exhausted", [faults.WORKERS_TO_PROVIDER + "-" + faults.CUT]),
        ("worker_lost", [faults.WORKER_KILL, faults.WORKER_FREEZE]),
        ("worker_lost", [faults.WORKER_KILL, faults.WORKER_DEPLOY, faults.REDIS_FREEZE]),
    ],
)
def test_a_healthy_job_may_fail_for_what_it_met(code: str, met: list[str]) -> None:
    # Given a job that failed, while its workers or its provider were disturbed
    history = good_history()
    history.incidents = [incident(kind, CREATED + at) for at, kind in enumerate(met)]
    job = tool_calls(history)
    fail_with(job, code)
    # When it is checked; Then its ending has its reason
    assert "endings_have_their_reasons" not in {violation.rule for violation in check(history)}
