"""The doctor on a primary behind sentinels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sentinels import NAME, Sentineled, client_of

from tokentail.shared import keys
from tokentail.shared.settings import Settings
from tokentail.stack.checkup import check_up, worker_is_alive
from tokentail.stack.finding import Finding, Verdict
from tokentail.stack.redis_server import RedisServer


@pytest.fixture(scope="module")
def healthy(shared_sentineled: Sentineled) -> Sentineled:
    """Three sentinels, a primary and two replicas, without which it writes nothing."""
    with client_of(shared_sentineled.primary) as client:
        client.config_set("min-replicas-to-write", 1)
    return shared_sentineled


def look(url: str, **settings: Any) -> dict[str, Finding]:
    findings = check_up(Settings.load(redis_url=url, **settings), {})
    return {finding.check: finding for finding in findings}


def test_a_healthy_set_of_servers_gets_ok_throughout(healthy: Sentineled) -> None:
    with client_of(healthy.primary) as client:
        client.zadd(keys.WORKERS, {"here:1:abc": time.time() * 1000})

    findings = look(healthy.url, wait_replicas=2)

    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}, findings
    assert {
        *("redis sentinels", "redis quorum", "redis failover", "redis replicas", "redis writes"),
        *("redis version", "redis role", "workers", "queue"),
    } <= findings.keys()
    assert findings["redis sentinels"].found == "3 of 3 answer"
    assert findings["redis replicas"].found.startswith("2 up to date")
    assert worker_is_alive(Settings.load(redis_url=healthy.url), "here")


def test_more_replicas_to_wait_for_than_there_are_are_a_failure(healthy: Sentineled) -> None:
    finding = look(healthy.url, wait_replicas=3)["redis replicas"]

    assert finding.verdict is Verdict.FAIL
    assert "TOKENTAIL_WAIT_REPLICAS is 3" in str(finding.advice)


def test_leases_that_a_failover_outlasts_are_a_warning(healthy: Sentineled) -> None:
    finding = look(healthy.url, lease_seconds=3)["redis failover"]

    assert (finding.verdict, finding.found) == (Verdict.WARN, "down after 1 s")
    assert "TOKENTAIL_LEASE_SECONDS" in str(finding.advice)


def test_a_url_that_names_some_of_the_sentinels_is_a_warning(healthy: Sentineled) -> None:
    first = healthy.url.split(",")[0]

    finding = look(f"{first}/{NAME}/0")["redis sentinels"]

    assert finding.verdict is Verdict.WARN
    assert "There are 3" in str(finding.advice)


def test_a_sentinel_that_is_away_is_named(healthy: Sentineled) -> None:
    findings = look(healthy.url.replace("//", "//127.0.0.1:1,"))

    assert findings["redis sentinels"].found == "3 of 4 answer"
    assert "127.0.0.1:1" in str(findings["redis sentinels"].advice)
    assert findings["redis role"].verdict is Verdict.OK


def test_a_primary_that_nobody_knows_is_a_failure(healthy: Sentineled) -> None:
    findings = look(healthy.url.replace(NAME, "other"))

    assert findings["redis primary"].verdict is Verdict.FAIL
    assert "no primary called 'other'" in str(findings["redis primary"].advice)


def test_sentinels_that_are_all_away_are_two_findings_without_a_password() -> None:
    findings = look("redis+sentinel://:hunter2@127.0.0.1:1/p?sentinel_password=hunter2")

    assert [findings[check].verdict for check in ("redis sentinels", "redis primary")] == [Verdict.FAIL] * 2
    assert "hunter2" not in str(findings)
    assert not worker_is_alive(Settings.load(redis_url="redis+sentinel://127.0.0.1:1/p"), "here")


def test_a_primary_without_replicas_and_a_quorum_out_of_reach_are_told(
    new_sentineled: Callable[..., Sentineled],
) -> None:
    # Given one sentinel that wants two for a failover, and nobody to fail over to
    lonely = new_sentineled(replicas=0, sentinels=1)
    with lonely.ask_sentinel() as sentinel:
        sentinel.execute_command("SENTINEL", "SET", NAME, "quorum", 2)

    findings = look(lonely.url)

    assert findings["redis quorum"].verdict is Verdict.FAIL
    assert "NOQUORUM" in str(findings["redis quorum"].advice)
    assert findings["redis replicas"].verdict is Verdict.WARN
    assert findings["redis writes"].verdict is Verdict.WARN


def test_replicas_to_wait_for_are_missed_without_sentinels_too(redis_server: RedisServer) -> None:
    assert look(redis_server.url, wait_replicas=1)["redis replicas"].verdict is Verdict.FAIL
