"""A suspect runs alone: while this worker finds out whether a job crashes it, it claims no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tokentail.worker.attempt import Attempt

#: For how long a suspect keeps others out, by how often it has crashed; after that, or when its model has
#: spoken, they may join it, so that after the death of a worker with twenty jobs nineteen do not wait for
#: minutes. What crashes a worker for sure mostly does it while the request is prepared. A crash in company
#: condemns nobody, so being wrong costs one crash more; who has crashed more often stays alone to its end.
PROBATION_SECONDS = {1: 0.25, 2: 5.0}


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
        """Run this attempt, the only one, alone if its job is a suspect."""
        record = attempt.claim.record
        if record.crashes == 0 or record.poison:
            return
        self._suspect = attempt
        if record.crashes == 1:
            attempt.on_first_delta = lambda: self.end(attempt)
        if record.crashes in PROBATION_SECONDS:
            asyncio.get_running_loop().call_later(PROBATION_SECONDS[record.crashes], self.end, attempt)

    def end(self, attempt: Attempt) -> None:
        """The attempt is over, or past its probation."""
        if attempt is self._suspect:
            self._suspect = None
            self._over()
