"""What becomes of a job whose provider failed: another try, or the end. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tokentail.shared import events
from tokentail.shared.claim import Claim
from tokentail.shared.errors import ModelError
from tokentail.shared.events import Error
from tokentail.shared.settings import Settings

#: Delay before another try at the same deployment, doubled with each and jittered: providers ask for
#: exponential backoff (OpenAI cookbook, "How to handle rate limits").
RETRY_SECONDS = 0.5
RETRY_LIMIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Retry:
    """The provider failed in a way that may pass: try again after the delay, in a free slot."""

    delay_seconds: float


def decide(
    error: ModelError,
    claim: Claim,
    settings: Settings,
    *,
    remaining_seconds: float,
    streamed: bool,
    has_other: bool,
) -> Retry | Error:
    """Decide after a failed attempt; crashes and handoffs never come by here.

    `remaining_seconds` until the job's deadline; `streamed`: the model had said something; `has_other`:
    the next attempt goes to another deployment.
    """
    wants_restart = claim.request is not None and claim.request["on_interruption"] == "restart"
    if not error.retryable or (streamed and not wants_restart):
        return events.error(error.code, str(error), retryable=error.retryable)
    tries, limit = claim.record.tries + 1, settings.max_attempts
    if tries >= limit > 1:
        last = f"{tries} attempts failed; the last with {error.code}: {error}"
        return events.error("attempts_exhausted", last, retryable=True)
    delay = 0.0 if has_other else _delay_seconds(error, tries)
    if tries >= limit or delay >= remaining_seconds:
        return events.error(error.code, str(error), retryable=True)
    return Retry(delay)


def _delay_seconds(error: ModelError, tries: int) -> float:
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    backoff: float = min(RETRY_SECONDS * 2 ** (tries - 1), RETRY_LIMIT_SECONDS)
    return backoff * random.uniform(0.75, 1.25)  # noqa: S311 -- jitter, no secret
