"""A seed → everything that will be done in one run: what is asked for, and what is broken when. Pure.

Nothing random happens during a run, so the same seed asks the same and breaks the same at the same times;
what the processes make of it is theirs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chaos import faults
from chaos.faults import Fault
from chaos.scenarios import SCENARIOS

#: Jobs and faults per second of a schedule: as many as two workers on a small machine get done, and faults so
#: close together that they meet.
JOBS_PER_SECOND = 3.0
FAULTS_PER_SECOND = 0.7

#: The first fault meets jobs on their way.
_CALM_SECONDS = 1.0

#: How long a new worker or API takes to be there, and so to be worth another fault. Importing litellm is
#: seconds of CPU.
_START_SECONDS = {"worker": 5.0, "api": 2.5, "redis": 1.0}

#: Jobs that only hang cost the run's end many seconds, so they are asked for early.
_SLOW_TO_FAIL = frozenset({"hang-first"})


@dataclass(frozen=True)
class Following:
    """One client that follows a job to its end: how long after its submit it comes, and how it behaves."""

    after: float
    #: Drops its connection after so many events, each time anew, then comes back with its cursor.
    drops: tuple[int, ...] = ()
    #: Reads nothing for this long, once, after its first events.
    stall: float = 0.0
    #: Opens so many connections from the start of the log, reads a few events of each and leaves, before it
    #: follows.
    hammers: int = 0


@dataclass(frozen=True)
class Wish:
    """One job that a client wants, and what clients do with it. Times count from its submit but for `at`."""

    at: float
    number: int
    model: str
    on_interruption: str
    #: Whether it has an idempotency key, so that it may be asked for until there is an answer.
    is_keyed: bool
    #: Asked for once more although it was answered.
    is_repeated: bool
    cancel_after: float | None
    delete_after: float | None
    reads: tuple[float, ...] = ()
    followings: tuple[Following, ...] = ()

    def __str__(self) -> str:
        words = [self.model, self.on_interruption]
        words += ["keyed"] * self.is_keyed + ["asked again"] * self.is_repeated
        words += [f"cancelled after {self.cancel_after:.2f}s"] if self.cancel_after is not None else []
        words += [f"deleted after {self.delete_after:.2f}s"] if self.delete_after is not None else []
        return f"{self.at:6.2f}s  job {self.number}: {', '.join(words)}, {len(self.followings)} followers"


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    seconds: float
    wishes: tuple[Wish, ...] = ()
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        lines = sorted(str(one) for one in (*self.wishes, *self.faults))
        return "\n".join((f"seed {self.seed}, {self.seconds:g} s", *lines))


def plan(
    seed: int,
    seconds: float,
    *,
    workers: int = 2,
    apis: int = 2,
    kinds: Sequence[str] = faults.ALL_FAULTS,
    intensity: float = 1.0,
) -> Plan:
    """What a seed stands for, with so many times the usual jobs and faults. Everything random comes from
    here."""
    chance = random.Random(seed)
    wishes = tuple(_wishes(chance, seconds, round(seconds * JOBS_PER_SECOND * intensity)))
    schedule = _Schedule(chance, seconds, {"worker": workers, "api": apis})
    for kind in _deal(chance, kinds, round(seconds * FAULTS_PER_SECOND * intensity)):
        schedule.add(kind)
    return Plan(seed, seconds, wishes, tuple(sorted(schedule.faults, key=lambda fault: fault.at)))


def _deal(chance: random.Random, kinds: Sequence[str], number: int) -> Iterator[str]:
    """As from a shuffled deck: within one run, no kind comes twice before each has come once."""
    deck: list[str] = []
    for _ in range(number if kinds else 0):
        deck = deck or chance.sample(list(kinds), len(kinds))
        yield deck.pop()


# What is broken


@dataclass
class _Schedule:
    """Finds a time for each fault at which what it breaks is not broken already."""

    chance: random.Random
    seconds: float
    numbers: dict[str, int]
    faults: list[Fault] = field(default_factory=list)
    #: Until when each process or link has something to get over.
    _busy: dict[tuple[str, int], list[tuple[float, float]]] = field(default_factory=dict)

    #: Tries to find a free time; a schedule that is full gets no more.
    _TRIES = 20

    def add(self, kind: str) -> None:
        """One more fault of this kind, if there is a free time for it."""
        place, is_process = kind.partition("-")[0], kind in faults.PROCESS_FAULTS
        for _ in range(self._TRIES):
            target = self.chance.randrange(self.numbers.get(place, 1) if is_process else 1)
            at = self.chance.uniform(_CALM_SECONDS, self.seconds)
            seconds, amount = _extent(self.chance, kind)
            where = (_target_of(kind), target)
            until = at + seconds + (_START_SECONDS[place] if is_process else 0.0)
            if all(until <= begun or ended <= at for begun, ended in self._busy.get(where, [])):
                self._busy.setdefault(where, []).append((at, until))
                self.faults.append(Fault(round(at, 3), kind, target, seconds, amount))
                return


def _target_of(kind: str) -> str:
    """What two faults must not break at once: a kind of process, or a link."""
    for link in faults.LINKS:
        if kind in faults.LINK_FAULTS and kind.startswith(f"{link}-"):
            return f"link {link}"
    return kind.partition("-")[0]


#: Shortest and longest of each kind, in seconds. Some freezes and stalls outlast a lease (2.5 s) and a socket
#: timeout (5 s), most don't.
_SECONDS: dict[str, tuple[float, float]] = {
    "kill": (0.1, 1.5),
    "freeze": (0.3, 6.0),
    "deploy": (0.0, 0.3),
    "restart": (0.1, 2.0),
    faults.CUT: (0.05, 1.5),
    faults.LOST_REPLIES: (0.3, 2.0),
    faults.STALL: (0.3, 6.0),
    faults.DELAY: (0.5, 3.0),
    faults.SQUEEZE: (0.5, 3.0),
}

_AMOUNTS: dict[str, Callable[[random.Random], float]] = {
    faults.LOST_REPLIES: lambda chance: chance.choice((1, 2, 5, 13)),
    faults.DELAY: lambda chance: round(chance.uniform(0.005, 0.1), 3),
    faults.SQUEEZE: lambda chance: float(chance.choice((10_000, 50_000, 200_000))),
}


def _extent(chance: random.Random, kind: str) -> tuple[float, float]:
    """How long, and how much."""
    manner = next(name for name in _SECONDS if kind.endswith(f"-{name}"))
    low, high = _SECONDS[manner]
    # More short ones than long ones: the square of an even choice.
    seconds = low + (high - low) * chance.random() ** 2
    return round(seconds, 3), _AMOUNTS[manner](chance) if manner in _AMOUNTS else 0.0


# What is asked for


def _wishes(chance: random.Random, seconds: float, wanted: int) -> Iterator[Wish]:
    scenarios = list(SCENARIOS.values())
    for number in range(1, wanted + 1):
        scenario = chance.choices(scenarios, [one.weight for one in scenarios])[0]
        latest = seconds / 2 if scenario.alias in _SLOW_TO_FAIL else seconds
        is_keyed = chance.random() < 0.6
        yield Wish(
            at=round(chance.uniform(0, latest), 3),
            number=number,
            model=scenario.alias,
            on_interruption=chance.choice(("restart", "restart", "fail")),
            is_keyed=is_keyed,
            is_repeated=is_keyed and chance.random() < 0.2,
            cancel_after=_moment(chance, 0.12, 4),
            delete_after=_moment(chance, 0.06, 8),
            reads=tuple(round(chance.uniform(0, 5), 3) for _ in range(chance.choice((0, 0, 1, 3)))),
            followings=tuple(_followings(chance)),
        )


def _moment(chance: random.Random, share: float, within: float) -> float | None:
    return round(chance.uniform(0, within), 3) if chance.random() < share else None


def _followings(chance: random.Random) -> Iterator[Following]:
    for _ in range(chance.choice((1, 1, 2, 3))):
        manner = chance.random()
        yield Following(
            after=round(chance.choice((0.0, chance.uniform(0, 4))), 3),
            drops=tuple(chance.choice((1, 2, 5, 20)) for _ in range(chance.randint(1, 4)))
            if manner < 0.4
            else (),
            stall=round(chance.uniform(0.5, 5), 3) if 0.4 <= manner < 0.55 else 0.0,
            hammers=chance.randint(2, 6) if 0.55 <= manner < 0.65 else 0,
        )
