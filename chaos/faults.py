"""The faults that a run can inject, by name, and what they count as."""

from __future__ import annotations

from dataclasses import dataclass

#: SIGKILL, SIGSTOP until SIGCONT, SIGTERM; each followed by a new process where one has gone.
WORKER_KILL, WORKER_FREEZE, WORKER_DEPLOY = "worker-kill", "worker-freeze", "worker-deploy"
API_KILL, API_FREEZE, API_DEPLOY = "api-kill", "api-freeze", "api-deploy"
REDIS_KILL, REDIS_FREEZE, REDIS_RESTART = "redis-kill", "redis-freeze", "redis-restart"

#: What a relay can do to the connections that go through it: close them and refuse new ones; forward
#: requests, drop their replies and then close, so that nobody knows whether they were done; hold
#: everything back; make everything late; let only so much through.
CUT, LOST_REPLIES, STALL, DELAY, SQUEEZE = "cut", "lost-replies", "stall", "delay", "squeeze"
RELAY_FAULTS = (CUT, LOST_REPLIES, STALL, DELAY, SQUEEZE)

#: The relays, by what goes through them.
WORKERS_TO_REDIS, APIS_TO_REDIS, WORKERS_TO_PROVIDER = "worker-redis", "api-redis", "provider"
LINKS = (WORKERS_TO_REDIS, APIS_TO_REDIS, WORKERS_TO_PROVIDER)

PROCESS_FAULTS = (
    *(WORKER_KILL, WORKER_FREEZE, WORKER_DEPLOY),
    *(API_KILL, API_FREEZE, API_DEPLOY),
    *(REDIS_KILL, REDIS_FREEZE, REDIS_RESTART),
)
LINK_FAULTS = tuple(f"{link}-{fault}" for link in LINKS for fault in RELAY_FAULTS)

#: Every fault that is injected at a moment of the schedule. What clients and the provider do wrong is part
#: of the load.
ALL_FAULTS = (*PROCESS_FAULTS, *LINK_FAULTS)

#: A worker that can't renew its leases because of what was done to itself.
WORKER_LOSSES = frozenset({WORKER_KILL, WORKER_FREEZE})
#: Nothing that goes through these arrives as it should.
REDIS_TROUBLE = frozenset(
    {REDIS_KILL, REDIS_FREEZE, REDIS_RESTART} | {f"{WORKERS_TO_REDIS}-{fault}" for fault in RELAY_FAULTS}
)
PROVIDER_TROUBLE = frozenset(f"{WORKERS_TO_PROVIDER}-{fault}" for fault in RELAY_FAULTS)


@dataclass(frozen=True)
class Fault:
    """One fault of a schedule: when it begins (seconds from the start), and for how long."""

    at: float
    kind: str
    #: Which worker or API, counted from 0.
    target: int = 0
    seconds: float = 0.0
    #: What a relay needs to know besides: of every so many requests one loses its reply; seconds of delay
    #: for each piece; bytes per second.
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f" ({self.amount:g})" if self.amount else ""
        return f"{self.at:6.2f}s  {self.kind} #{self.target} for {self.seconds:.2f}s{amount}"
