"""What an operator is told of each node of a cluster, one line each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nodes import Nodes

from tokentail.shared.settings import Settings
from tokentail.stack import checkup
from tokentail.stack.finding import Finding, Verdict


def of_logs(redis_url: str, nodes: Nodes) -> list[Finding]:
    settings = Settings(redis_url=redis_url, log_redis_url=nodes.url)
    return [finding for finding in checkup.check_up(settings, {}) if finding.check.startswith("log redis")]


def test_each_node_that_is_well_is_a_finding(redis_url: str, nodes: Nodes) -> None:
    found = {finding.found for finding in of_logs(redis_url, nodes)}
    assert found == {"all 16384 are held", *(f"{node.name}: primary" for node in nodes.primaries)}


def test_each_thing_that_is_wrong_is_told_of_its_node(redis_url: str, nodes: Nodes) -> None:
    # Given a node that evicts, and another one that forgets
    evicts, forgets, _ = nodes.primaries
    evicts.client.config_set("maxmemory-policy", "allkeys-lru")
    forgets.client.config_set("appendonly", "no")
    try:
        bad = [finding for finding in of_logs(redis_url, nodes) if finding.verdict is not Verdict.OK]
    finally:
        evicts.client.config_set("maxmemory-policy", "noeviction")
        forgets.client.config_set("appendonly", "yes")
    # Then each is a finding of its own, with its own advice
    assert {(finding.check, finding.verdict, finding.found) for finding in bad} == {
        ("log redis memory policy", Verdict.FAIL, f"{evicts.name}: allkeys-lru"),
        ("log redis persistence", Verdict.WARN, f"{forgets.name}: no append-only file"),
    }
    assert all(finding.advice for finding in bad)


async def test_a_primary_that_is_away_is_bad_and_a_replica_that_is_away_a_warning(
    redis_url: str, new_nodes: Callable[..., Nodes]
) -> None:
    nodes = await asyncio.to_thread(new_nodes, replicas=1)
    (replica,), dead = nodes.replicas, nodes.primaries[2]
    # Given a replica and a primary that are away, just now
    replica.kill()
    dead.kill()
    # Then both are told, each by its name
    findings = await asyncio.to_thread(of_logs, redis_url, nodes)
    away = {finding.found: finding.verdict for finding in findings if "no answer" in finding.found}
    assert away[f"{dead.name}: primary, no answer"] is Verdict.FAIL
    # A replica that the others have given up is no part of the cluster any more.
    assert away.get(f"{replica.name}: replica, no answer", Verdict.WARN) is Verdict.WARN
    assert f"{nodes.primaries[0].name}: primary" in {finding.found for finding in findings}


def test_a_server_that_is_no_cluster_is_told(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, log_redis_url=redis_url.replace("redis://", "redis+cluster://"))
    (bad,) = [finding for finding in checkup.check_up(settings, {}) if finding.verdict is Verdict.FAIL]
    assert "cluster support disabled" in str(bad.advice)
    assert "TOKENTAIL_LOG_REDIS_URL" in str(bad.advice)
