"""How much is measured: enough for stable medians in a few minutes, or just enough to see that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Repetitions and sizes of every measure."""

    first_token_pairs: int
    pickups: int
    arq_pickups: int
    in_flight: int
    cpu_rounds: int
    #: Generations at once at a reader's pace, and tokens of each.
    paced_streams: int
    paced_tokens: int
    #: Tokens of the one generation that comes as fast as it can.
    flat_out_tokens: int


#: About three minutes on two cores, most of it waiting for tokens at a reader's pace.
FULL = Effort(
    first_token_pairs=200,
    pickups=200,
    arq_pickups=30,
    in_flight=300,
    cpu_rounds=5,
    paced_streams=20,
    paced_tokens=150,
    flat_out_tokens=4000,
)

#: A smoke run: its numbers mean nothing.
QUICK = Effort(
    first_token_pairs=5,
    pickups=5,
    arq_pickups=2,
    in_flight=20,
    cpu_rounds=1,
    paced_streams=3,
    paced_tokens=20,
    flat_out_tokens=200,
)
