"""How many streams one process serves, and what it tells those that it does not.

Each costs a descriptor, ten kilobytes, and some microseconds for each event. Other processes count their own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tokentail.api.problems import Problem
from tokentail.shared.settings import Settings

#: When one is refused: streams end as their jobs do, and generations take seconds.
FULL_RETRY_SECONDS = 5
#: When this process is stopping: others are there, or about to be.
STOPPING_RETRY_SECONDS = 1


@dataclass(frozen=True)
class Limits:
    """The most streams at once: of the process, of one job, of one tenant."""

    process: int
    job: int
    tenant: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As the operator wants them."""
        return cls(settings.max_streams, settings.max_job_streams, settings.max_tenant_streams)

    def refusal(self, process: int, job: int, tenant: int) -> Problem | None:
        """Why there may be no further stream beside so many; None if there may be one.

        A process that is full is nobody's fault, and another one may have room: 503. The other two are for
        the client to mend: 429.
        """
        if job >= self.job:
            detail = f"This job has as many followers as it may: {self.job}."
            return _come_back(429, "too_many_job_streams", detail)
        if tenant >= self.tenant:
            detail = f"You have as many streams as you may: {self.tenant}."
            return _come_back(429, "too_many_tenant_streams", detail)
        if process >= self.process:
            return _come_back(503, "too_many_streams", "This process serves as many streams as it can.")
        return None


class Streams:
    """The streams of this process, counted. Every `enter` that does not raise takes a `leave`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.open = 0
        self._of_job: Counter[str] = Counter()
        self._of_tenant: Counter[str] = Counter()
        #: Those refused, by code, for whatever reason.
        self.refused: Counter[str] = Counter()

    def check(self, tenant: str) -> None:
        """Refuse one who wants to follow a job that is still to be submitted. Raises Problem."""
        problem = self._limits.refusal(self.open, 0, self._of_tenant[tenant])
        if problem is not None:
            raise problem

    def enter(self, tenant: str, job_id: str) -> None:
        """Count one more. Raises Problem if that is one too many."""
        problem = self._limits.refusal(self.open, self._of_job[job_id], self._of_tenant[tenant])
        if problem is not None:
            raise problem
        self.open += 1
        self._of_job[job_id] += 1
        self._of_tenant[tenant] += 1

    def leave(self, tenant: str, job_id: str) -> None:
        """Count one less."""
        self.open -= 1
        for counter, name in ((self._of_job, job_id), (self._of_tenant, tenant)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]


def stopping() -> Problem:
    """The refusal of what would have to outlive this process."""
    return _come_back(503, "unavailable", "This process is stopping; come back.", STOPPING_RETRY_SECONDS)


def _come_back(status: int, code: str, detail: str, seconds: int = FULL_RETRY_SECONDS) -> Problem:
    problem = Problem(status, code, detail)
    # Kept open, the connection would hold a descriptor for seconds more, or lead the client back here.
    problem.headers.update({"Retry-After": str(seconds), "Connection": "close"})
    return problem
