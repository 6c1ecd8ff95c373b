"""A suspect runs alone: while this worker finds out whether a job crashes it, it claims no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tokentail.worker.attempt import Attempt

#: A suspect that has run for so long, or has made its model speak, was probably no more than a neighbour:
#: what crashes a worker for sure does it while the request is prepared. Others may then join it, so that
#: after the death of a worker with twenty jobs nineteen of them do not wait for minutes. A crash in company
#: condemns nobody, so being wrong costs one crash more.
PROBATION_SECONDS = 0.25


class Solitude:
    """Whom this worker runs alone, if anybody. `over` is called when others may join again."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over
        self._suspect: Attempt | None = None

    @property
    def holds(self) -> bool:
        """Whether others have to wait."""
        return self._suspect is not None

    def begin(self, attempt: Attempt) -> None:
        """Run this attempt alone if its job is a suspect."""
        record = attempt.claim.record
        if record.crashes == 0 or record.poison:
            return
        self._suspect = attempt
        # Who has crashed twice, the second time in company, stays alone to its end: a third time tells.
        if record.crashes == 1:
            attempt.on_first_delta = lambda: self.end(attempt)
            asyncio.get_running_loop().call_later(PROBATION_SECONDS, self.end, attempt)

    def end(self, attempt: Attempt) -> None:
        """The attempt is over, or past its probation."""
        if attempt is self._suspect:
            self._suspect = None
            self._over()
