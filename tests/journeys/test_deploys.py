"""Rolling deploys: every worker and every API is replaced, five times in a row, under load.

One run serves all promises, since it takes most of a minute: a hundred generations at a time, each with a
follower, while process after process is told to stop and its successor is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from installation import Installation
from processes import REDIS_BINARY
from rolling import LONG, LONG_AT_ONCE, PROCESSES, ROLLS, SETTINGS, SHORT, SHORT_AT_ONCE, Deploys

from chaos import scenarios
from chaos.checker import check
from chaos.history import Job
from chaos.scenarios import Scenario
from tokentail.stack.redis_server import RedisServer


@pytest.fixture(scope="module")
def deploys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploys]:
    """Five rolling deploys during a hundred generations at a time, and what came of it."""
    with pytest.MonkeyPatch.context() as patch:
        for scenario in (SHORT, LONG):
            patch.setitem(scenarios.SCENARIOS, scenario.alias, scenario)
        redis = RedisServer(tmp_path_factory.mktemp("deploys-redis"), port=0, binary=REDIS_BINARY).start()
        installation = Installation(redis, {one.alias: one.model for one in (SHORT, LONG)}, **SETTINGS)
        try:
            rolled = Deploys(installation)
            asyncio.run(rolled.run())
            yield rolled
        finally:
            installation.close()
            redis.kill()


def test_no_job_fails(deploys: Deploys) -> None:
    # Given a hundred generations at a time; When everything is replaced five times
    assert len(deploys.exit_codes) == 2 * PROCESSES * ROLLS
    # Then each of them, and of those that were submitted meanwhile, is completed
    assert len(deploys.history.jobs) >= SHORT_AT_ONCE + LONG_AT_ONCE
    assert {job.record["status"] for job in deploys.history.jobs.values()} == {"completed"}


def test_no_follower_loses_or_repeats_a_token(deploys: Deploys) -> None:
    # Given followers that came back with their cursor to the next API, and were never told to forget
    followers = [follower for job in deploys.history.jobs.values() for follower in job.followers]
    assert all(follower.finished for follower in followers)
    assert not any(entry.event["type"] == "reset" for one in followers for entry in one.seen)
    # Then what each has seen is the log, which comes to the result, which is what the provider sent
    assert check(deploys.history) == []


def test_jobs_that_can_end_within_the_drain_time_are_not_restarted(deploys: Deploys) -> None:
    # Given generations of less than a second, some of them running whenever a worker was told to stop
    short = deploys.of(SHORT)
    assert len(short) == 2 * SHORT_AT_ONCE * PROCESSES * ROLLS
    # Then the provider was asked for each of them once, and no token of theirs was sent in vain
    assert len(_asked(deploys, SHORT)) == len(short)
    assert all(_fences_of_deltas(job) == 1 for job in short)
    # And each is in its first attempt, but for those that were being claimed as the signal came
    assert sum(job.record["attempt"] == "1" for job in short) >= len(short) - PROCESSES * ROLLS


def test_jobs_that_outlive_the_drain_are_handed_over_and_have_not_crashed(deploys: Deploys) -> None:
    # Given generations that take longer than a worker drains
    long = deploys.of(LONG)
    handoffs = sum(int(job.record["handoffs"]) for job in long)
    assert handoffs >= PROCESSES * ROLLS
    # Then every attempt of theirs but the first is a handoff, and none is held against them
    for job in long:
        assert int(job.record["attempt"]) == 1 + int(job.record["handoffs"])
        assert (job.record["crashes"], job.record["tries"]) == ("0", "0")
        assert _reasons(job) == ["start"] + ["handoff"] * int(job.record["handoffs"])
    # And the provider was asked at most once for each
    assert len(_asked(deploys, LONG)) <= len(long) + handoffs


def test_every_process_that_is_told_to_stop_exits_with_0(deploys: Deploys) -> None:
    assert set(deploys.exit_codes) == {0}


def _asked(deploys: Deploys, scenario: Scenario) -> Sequence[object]:
    return [one for one in deploys.history.provider.requests if one["model"] == scenario.model]


def _reasons(job: Job) -> list[str]:
    return [entry.event["reason"] for entry in job.log if entry.event["type"] == "attempt"]


def _fences_of_deltas(job: Job) -> int:
    """How many attempts have said something."""
    return len({str(entry.id).split("-")[0] for entry in job.log if entry.event["type"] == "delta"})
