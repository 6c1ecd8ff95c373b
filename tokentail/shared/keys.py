"""Every Redis key, its type, what it holds and how long it lives.

| key | type | holds | lives |
|---|---|---|---|
| `tt:{q}:ready` | zset | queued jobs by the ms at which they may be claimed | as long as it has members |
| `tt:{q}:leases` | zset | running jobs by the ms at which their lease lapses | as long as it has members |
| `tt:{q}:bell` | list | at most one push; wakes one idle worker | until popped |
| `tt:{q}:workers` | zset | worker ids by the ms of their last heartbeat | pruned by each heartbeat |
| `tt:{q}:lag` | hash | worker id → ms by which its event loop was late | LAG_SECONDS after the last beat |
| `tt:{q}:control:<worker>` | list | messages to one worker | CONTROL_SECONDS after the last push |
| `tt:{q}:job:<job>` | hash | the record (fields: `shared/job.py`) | record TTL after the ending |
| `tt:{q}:request:<job>` | string | the request as JSON | log TTL after the ending |
| `tt:{q}:idem:<tenant>:<sha256>` | string | `<job> <sha256 of the body>` | as long as the record |
| `tt:{q}:index:<tenant>` | zset | the tenant's jobs, all score 0: ids sort by time | pruned by each enqueue |
| `tt:{<job>}:log` | stream | entries `<fence>-<seq>`, field `e`: JSON | log TTL after the ending |

All but the last are the control plane. They share the tag `{q}`, so a script that touches many of them
stays in one slot; a log is tagged by its job, so logs spread over a cluster and no command joins two.
"""

from __future__ import annotations

import hashlib

#: Longer than any lease that is renewed sensibly: a message that waits longer has found its worker dead.
CONTROL_SECONDS = 600

#: A minute after the last worker of an installation has gone nobody asks how late it was.
LAG_SECONDS = 60

_CONTROL_PLANE = "tt:{q}:"

READY = _CONTROL_PLANE + "ready"
LEASES = _CONTROL_PLANE + "leases"
BELL = _CONTROL_PLANE + "bell"
WORKERS = _CONTROL_PLANE + "workers"
LAG = _CONTROL_PLANE + "lag"

#: Scripts that find jobs in a zset complete these with the job's id.
JOB_PREFIX = _CONTROL_PLANE + "job:"
REQUEST_PREFIX = _CONTROL_PLANE + "request:"
CONTROL_PREFIX = _CONTROL_PLANE + "control:"


def record(job_id: str) -> str:
    """The job's record."""
    return JOB_PREFIX + job_id


def request(job_id: str) -> str:
    """The job's request body."""
    return REQUEST_PREFIX + job_id


def control(worker_id: str) -> str:
    """The messages to one worker."""
    return CONTROL_PREFIX + worker_id


def idempotency(tenant: str, key: str) -> str:
    """The job that a tenant's idempotency key stands for. Hashed: the key is the client's to choose."""
    return f"{_CONTROL_PLANE}idem:{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"


def index(tenant: str) -> str:
    """The tenant's jobs, oldest first."""
    return f"{_CONTROL_PLANE}index:{tenant}"


def log(job_id: str) -> str:
    """The job's log."""
    return f"tt:{{{job_id}}}:log"
