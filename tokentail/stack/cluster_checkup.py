"""What the doctor looks at where a cluster holds the logs: who holds the slots, and each node by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import redis

from tokentail.shared.redis_url import ManyHosts, parse_cluster
from tokentail.shared.slots import SLOTS, SlotMap
from tokentail.stack import server_checkup
from tokentail.stack.finding import VARIABLES, Finding, Verdict

#: As for a server that stands alone (`checkup`): one that takes longer can't carry a live stream.
TIMEOUT_SECONDS = 3.0


def look(name: str, url: str) -> Iterator[Finding]:
    """The findings: one on the slots, and one on each node unless there is something to say of it."""
    hosts = parse_cluster(url)
    try:
        slots = _slots(hosts)
    except (redis.RedisError, OSError) as error:
        yield Finding(name, Verdict.FAIL, "not usable", _advice(name, hosts, error))
        return
    yield _coverage(name, slots)
    for node in sorted(slots.primaries | slots.replicas):
        yield from _node(name, hosts, node, is_primary=node in slots.primaries)


def _slots(hosts: ManyHosts) -> SlotMap:
    """By the first node of the URL that answers. Raises what the last one that did not, did."""
    *others, last = [str(address) for address in hosts.addresses]
    for node in others:
        try:
            return _ask(hosts, node)
        except (redis.RedisError, OSError):
            continue
    return _ask(hosts, last)


def _ask(hosts: ManyHosts, node: str) -> SlotMap:
    with _connect(hosts, node) as client:
        return SlotMap.parse(client.execute_command("CLUSTER", "SLOTS"), node)


def _connect(hosts: ManyHosts, node: str) -> Any:
    host, _, port = node.rpartition(":")
    return redis.Redis(
        host=host.strip("[]"),
        port=int(port),
        username=hosts.username,
        password=hosts.password,
        ssl=hosts.is_tls,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        **hosts.tls_options,  # type: ignore[arg-type]
    )


def _advice(name: str, hosts: ManyHosts, error: Exception) -> str:
    asked = ", ".join(str(address) for address in hosts.addresses)
    return f"No node of {asked} tells who holds the logs ({str(error).rstrip('.')}): see {VARIABLES[name]}."


def _coverage(name: str, slots: SlotMap) -> Finding:
    check = f"{name} slots"
    if not slots.uncovered:
        return Finding(check, Verdict.OK, f"all {SLOTS} are held")
    found = f"nobody holds {slots.uncovered} of the cluster's {SLOTS} slots"
    return Finding(check, Verdict.FAIL, found, "Logs of those slots can't be written or read: assign them.")


def _node(name: str, hosts: ManyHosts, node: str, *, is_primary: bool) -> Iterator[Finding]:
    role = "primary" if is_primary else "replica"
    try:
        with _connect(hosts, node) as client:
            findings = list(server_checkup.look(name, client, client.info(), of_cluster=True))
    except (redis.RedisError, OSError) as error:
        yield _silence(name, node, role, str(error).rstrip("."))
        return
    bad = [finding for finding in findings if finding.verdict is not Verdict.OK]
    for finding in bad:
        yield dataclasses.replace(finding, found=f"{node}: {finding.found}")
    if not bad:
        yield Finding(f"{name} node", Verdict.OK, f"{node}: {role}")


def _silence(name: str, node: str, role: str, reason: str) -> Finding:
    check, found = f"{name} node", f"{node}: {role}, no answer"
    if role == "primary":
        return Finding(check, Verdict.FAIL, found, f"Its logs wait until it or a replica is there: {reason}.")
    return Finding(check, Verdict.WARN, found, f"It could not take its primary's place: {reason}.")
