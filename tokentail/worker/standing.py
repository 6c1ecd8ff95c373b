"""How the leases of a worker stand: which to renew, and which to give up before they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tokentail.shared.claim import Held

#: A lease, by job and fence: a job that was lost may be claimed again before its old attempt has gone.
Lease = tuple[str, int]

#: An attempt is given up this long before its lease ends, for then another worker may begin. Until then its
#: event loop has to learn of it (late by 0.1 s in a burst of chunks), close the provider's connection
#: (milliseconds), and, if Redis is back, give the job back, which spares it the count of a crash.
MARGIN_SECONDS = 1.0

#: Of a short lease no more than this, or it would leave no time for renewals.
MARGIN_SHARE = 0.2


def trusted_seconds(lease_seconds: float) -> float:
    """For how long after it was asked for a lease may be relied on."""
    return lease_seconds - min(MARGIN_SECONDS, lease_seconds * MARGIN_SHARE)


class Standing:
    """When each lease was last made whole. Knows no clock, waits for nothing; one thread's own.

    All times are those at which a request was sent, so a lease is never thought to be longer than Redis
    thinks it is: Redis counts from when it got the request.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._trusted_seconds = trusted_seconds(lease_seconds)
        self._renewed: dict[Lease, float] = {}
        #: Neither renewed nor given up again: those that were, and those that are somebody else's.
        self._over: set[Lease] = set()

    def to_renew(self, held: Mapping[Lease, float]) -> list[Lease]:
        """What to ask for. Not what is over: an attempt that hangs as it ends must not keep its job."""
        return [lease for lease in held if lease not in self._over]

    def hear(self, leases: Sequence[Lease], answers: Iterable[Held], asked_at: float) -> None:
        """Take in what the queue answered to a request sent at `asked_at`."""
        for lease, answer in zip(leases, answers, strict=True):
            if answer in (Held.HELD, Held.CANCEL):
                self._renewed[lease] = asked_at
            else:
                self._over.add(lease)

    def give_up(self, held: Mapping[Lease, float], now: float) -> list[Lease]:
        """The leases that can't be relied on any more, each told once. `held`: when each was claimed."""
        self._renewed = {lease: at for lease, at in self._renewed.items() if lease in held}
        self._over &= held.keys()
        lapsed = [
            lease
            for lease in self.to_renew(held)
            if now - max(held[lease], self._renewed.get(lease, held[lease])) >= self._trusted_seconds
        ]
        self._over.update(lapsed)
        return lapsed
