"""Whether Redis has room for more jobs: new ones are refused before those that run are in danger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from redis.exceptions import ResponseError

from tokentail.api.servers import Answer
from tokentail.shared import redis as store
from tokentail.shared.errors import NoRoom

logger = structlog.get_logger()


class Headroom:
    """Hears what every server says of its memory, and says whether jobs may be accepted."""

    def __init__(self) -> None:
        #: Why no job may be accepted now.
        self.refusal: str | None = None
        self._is_blind = False

    def check(self) -> None:
        """Raises NoRoom if no job may be accepted now."""
        if self.refusal is not None:
            raise NoRoom(self.refusal)

    def hear(self, answers: Iterable[Answer[dict[str, Any]]]) -> None:
        """Decide anew. A server that is away refuses jobs by itself, as long as it is."""
        refusals = [_refusal(answer.value) for answer in answers if answer.value is not None]
        refusal = next(filter(None, refusals), None)
        if refusal != self.refusal:
            logger.warning("jobs are refused" if refusal else "jobs are accepted again", reason=refusal)
        self.refusal = refusal
        for answer in answers:
            # A user who may not ask: then nobody can tell.
            if isinstance(answer.error, ResponseError) and not self._is_blind:
                self._is_blind = True
                logger.warning("how full Redis is can't be known", reason=str(answer.error))


def _refusal(memory: dict[str, Any]) -> str | None:
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return f"Redis evicts keys (maxmemory-policy is {policy}), which would lose jobs."
    used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    if most and used >= most * store.FULL_SHARE:
        return "Redis is nearly out of memory; try again later."
    return None
