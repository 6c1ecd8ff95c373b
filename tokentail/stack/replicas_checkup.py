"""What the doctor looks at where a primary has replicas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import redis

from tokentail.stack.finding import Finding, Verdict

#: A replica reports every second; one that was silent for longer lags, or is about to be given up.
LAG_SECONDS = 2


def look(
    name: str, client: Any, info: Mapping[str, Any], *, wait_replicas: int, is_sentineled: bool
) -> Iterator[Finding]:
    """The findings on a primary's replicas; none where nobody expects any."""
    if is_sentineled or wait_replicas or info.get("connected_slaves"):
        yield _replicas(name, info, wait_replicas)
    if is_sentineled:
        yield from _least(name, client)


def _replicas(name: str, info: Mapping[str, Any], wait_replicas: int) -> Finding:
    replicas = [info[f"slave{number}"] for number in range(int(info.get("connected_slaves", 0)))]
    good = [r for r in replicas if r["state"] == "online" and int(r["lag"]) <= LAG_SECONDS]
    behind = max((int(info["master_repl_offset"]) - int(r["offset"]) for r in good), default=0)
    found = f"{len(good)} up to date" + (f", at most {behind} bytes behind" if good else "")
    check = f"{name} replicas"
    if len(good) < wait_replicas:
        advice = f"TOKENTAIL_WAIT_REPLICAS is {wait_replicas}: nothing is acknowledged with fewer."
        return Finding(check, Verdict.FAIL, found, advice)
    if not good:
        return Finding(check, Verdict.WARN, found, "Nobody could take over: add a replica.")
    if len(good) < len(replicas):
        advice = f"{len(replicas) - len(good)} of {len(replicas)} lag or are just being filled."
        return Finding(check, Verdict.WARN, found, advice)
    return Finding(check, Verdict.OK, found)


def _least(name: str, client: Any) -> Iterator[Finding]:
    """How many replicas must be there for the primary to write. Nothing for a user who may not ask."""
    try:
        least = int(client.config_get("min-replicas-to-write").get("min-replicas-to-write", 0))
        seconds = int(client.config_get("min-replicas-max-lag").get("min-replicas-max-lag", 0))
    except redis.ResponseError:
        return
    if least:
        found = f"at least {least}, at most {seconds} s behind"
        yield Finding(f"{name} writes", Verdict.OK, found)
    else:
        advice = (
            "A primary that is cut off from its replicas goes on writing what a failover forgets: "
            "set min-replicas-to-write to 1, if it has two replicas or more."
        )
        yield Finding(f"{name} writes", Verdict.WARN, "min-replicas-to-write is 0", advice)
