"""What an operator is told of a cluster before anything runs."""

from __future__ import annotations

from nodes import Nodes

from tokentail.shared import keys
from tokentail.shared.job import new_id
from tokentail.shared.settings import Settings
from tokentail.stack import checkup
from tokentail.stack.finding import Finding, Verdict


def of_logs(redis_url: str, nodes: Nodes) -> list[Finding]:
    settings = Settings(redis_url=redis_url, log_redis_url=nodes.url)
    return [finding for finding in checkup.check_up(settings, {}) if finding.check.startswith("log redis")]


def test_a_whole_cluster_is_fine(redis_url: str, nodes: Nodes) -> None:
    assert {finding.verdict for finding in of_logs(redis_url, nodes)} == {Verdict.OK}


def test_a_slot_that_nobody_holds_is_told(redis_url: str, nodes: Nodes) -> None:
    with nodes.orphaned(keys.log(new_id())):
        (bad,) = [finding for finding in of_logs(redis_url, nodes) if finding.verdict is Verdict.FAIL]
    assert "1 of the cluster's 16384 slots" in f"{bad.found} {bad.advice}"


def test_a_node_that_evicts_keys_is_told_by_name(redis_url: str, nodes: Nodes) -> None:
    culprit = nodes.primaries[2]
    culprit.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (bad,) = [finding for finding in of_logs(redis_url, nodes) if finding.verdict is Verdict.FAIL]
    finally:
        culprit.client.config_set("maxmemory-policy", "noeviction")
    assert culprit.name in f"{bad.found} {bad.advice}"
