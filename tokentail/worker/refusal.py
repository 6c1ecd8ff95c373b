"""Whether a claimed job's model is to be called at all. Pure."""

from __future__ import annotations

from tokentail.shared import events
from tokentail.shared.claim import Claim
from tokentail.shared.events import Ending
from tokentail.shared.queue import WAITED_TOO_LONG


def refusal(claim: Claim, remaining_seconds: float) -> Ending | None:
    """The ending of a job whose model is not to be called; `remaining_seconds` until its deadline."""
    record = claim.record
    if record.cancel:
        return events.cancelled()
    if claim.request is None:
        return _failed("internal", "The job's request is gone from Redis.", retryable=True)
    if record.poison:
        return _failed("worker_lost", "The job took its workers down with it.", retryable=False)
    if record.attempt == 1 and 0 < record.start_by <= claim.now:  # 0: queued by an older version.
        return WAITED_TOO_LONG
    if remaining_seconds <= 0:
        return _failed("deadline_exceeded", "The job waited past its deadline.", retryable=True)
    return None


def _failed(code: str, message: str, *, retryable: bool) -> Ending:
    return events.failed(events.error(code, message, retryable=retryable))
