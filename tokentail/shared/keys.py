"""Every Redis key, its type, what it holds and how long it lives.

| key | type | holds | lives |
|---|---|---|---|
| `tt:{q}:ready` | zset | queued jobs by the ms at which they may be claimed | as long as it has members |
| `tt:{q}:suspects` | zset | the same for jobs that have crashed, to run alone | as long as it has members |
| `tt:{q}:leases` | zset | running jobs by the ms at which their lease lapses | as long as it has members |
| `tt:{q}:dead` | zset | dead letters by the ms of their ending | pruned when it is read |
| `tt:{q}:bell` | list | at most one push; wakes one idle worker | until popped |
| `tt:{q}:pace` | hash | `at` (ms), `rate`: jobs/s that leave the queue | for ever |
| `tt:{q}:workers` | zset | worker ids by the ms of their last heartbeat | pruned by each heartbeat |
| `tt:{q}:lag` | hash | worker id → ms by which its event loop was late | LAG_SECONDS after the last beat |
| `tt:{q}:control:<worker>` | list | messages to one worker | CONTROL_SECONDS after the last push |
| `tt:{q}:claimed:<worker>` | string | its last claim: `<ticket> <job> <fence> …` | MEMORY_SECONDS |
| `tt:{q}:alone:<worker>` | string | the suspect it runs alone | until it claims others; MEMORY_SECONDS |
| `tt:{q}:job:<job>` | hash | the record (fields: `shared/job.py`) | record TTL after the ending |
| `tt:{q}:request:<job>` | string | the request as JSON | log TTL after the ending |
| `tt:{q}:idem:<tenant>:<sha256>` | string | `<job> <sha256 of the body>` | as long as the record |
| `tt:{q}:index:<tenant>` | zset | the tenant's jobs, all score 0: ids sort by time | pruned by each enqueue |
| `tt:{<partition>}:log:<job>` | stream | ids `<fence>-<seq>`, field `e`: JSON | log TTL after the ending |

All but the last are the control plane. They share the tag `{q}`, so a script that touches many of them
stays in one slot. A log is tagged by its partition: one read may join the logs of a partition, and the
partitions spread over the nodes of a cluster. `tt:{q}:none` never exists: scripts begin by deleting it.
"""

from __future__ import annotations

import hashlib
import zlib

#: Longer than any lease that is renewed sensibly: a message that waits longer has found its worker dead.
CONTROL_SECONDS = 600

#: A minute after the last worker of an installation has gone nobody asks how late it was.
LAG_SECONDS = 60
#: How long is remembered what a worker was given: longer than it may take to ask again, and than a dead
#: worker's jobs wait for another to find them.
MEMORY_SECONDS = 86_400

_CONTROL_PLANE = "tt:{q}:"

READY = _CONTROL_PLANE + "ready"
SUSPECTS = _CONTROL_PLANE + "suspects"
LEASES = _CONTROL_PLANE + "leases"
DEAD = _CONTROL_PLANE + "dead"
BELL = _CONTROL_PLANE + "bell"
PACE = _CONTROL_PLANE + "pace"
WORKERS = _CONTROL_PLANE + "workers"
LAG = _CONTROL_PLANE + "lag"

#: Scripts that find jobs in a zset complete these with the job's id.
JOB_PREFIX = _CONTROL_PLANE + "job:"
REQUEST_PREFIX = _CONTROL_PLANE + "request:"
CONTROL_PREFIX = _CONTROL_PLANE + "control:"
#: And this one with the id of a dead owner.
ALONE_PREFIX = _CONTROL_PLANE + "alone:"


def record(job_id: str) -> str:
    """The job's record."""
    return JOB_PREFIX + job_id


def request(job_id: str) -> str:
    """The job's request body."""
    return REQUEST_PREFIX + job_id


def control(worker_id: str) -> str:
    """The messages to one worker."""
    return CONTROL_PREFIX + worker_id


def claimed(worker_id: str) -> str:
    """What the worker's last claim brought."""
    return f"{_CONTROL_PLANE}claimed:{worker_id}"


def alone(worker_id: str) -> str:
    """The suspect that the worker runs alone."""
    return ALONE_PREFIX + worker_id


def idempotency(tenant: str, key: str) -> str:
    """The job that a tenant's idempotency key stands for. Hashed: the key is the client's to choose."""
    return f"{_CONTROL_PLANE}idem:{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"


def index(tenant: str) -> str:
    """The tenant's jobs, oldest first."""
    return f"{_CONTROL_PLANE}index:{tenant}"


#: The tags of the partitions that logs are spread over. A cluster reads many logs at once only where they
#: share a slot, and one connection per log would not do: so a reader has one per partition. Twenty-four are
#: few enough for that, and deal out evenly to 2, 3, 4, 6, 8 or 12 nodes. The letters put the slot of tag n
#: into the middle of the n-th of 24 equal parts of all slots, whatever the checksum makes of its number.
#: Another list would lose the logs of running jobs: nobody would look where they are.
# fmt: off
LOG_TAGS = (
    "00ec", "01jp", "02ry", "03zr", "04wy", "05xj", "06zl", "07yj", "08ql", "09yg", "10nd", "11aw",
    "12bi", "13mz", "14op", "15hz", "16ps", "17pa", "18qe", "19bz", "20bz", "21ep", "22ql", "23rj",
)
# fmt: on


def log_partition(job_id: str) -> int:
    """Which of the LOG_TAGS the job's log has."""
    return zlib.crc32(job_id.encode()) % len(LOG_TAGS)


def log(job_id: str) -> str:
    """The job's log."""
    return f"tt:{{{LOG_TAGS[log_partition(job_id)]}}}:log:{job_id}"
