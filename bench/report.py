"""What came out: rows, and the two ways to print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal, NamedTuple

import orjson

_TIMES = "×"  # noqa: RUF001 -- it is meant

_HEAD = ("measure", "tokentail", "peer", "ratio, difference", "aim", "met?", "n")


@dataclass(frozen=True, slots=True)
class Aim:
    """At most `limit`: of the value itself, of its difference from the peer's, or of its ratio to it."""

    of: Literal["value", "difference", "ratio"]
    limit: float


@dataclass(frozen=True, slots=True)
class Row:
    """One measure, of both sides if there is a peer.

    `samples` is how many each of the figures stands for, ours first.
    """

    measure: str
    unit: str
    ours: float
    peer: float | None
    samples: tuple[int, ...]
    aim: Aim | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        if self.aim is None:
            return None
        values = {"value": self.ours}
        if self.peer is not None:
            values |= {"difference": self.ours - self.peer, "ratio": self.ours / self.peer}
        return values[self.aim.of] <= self.aim.limit

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        compared, peer = "", ""
        if self.peer is not None:
            peer = _figure(self.peer, self.unit)
            compared = (
                f"{self.ours / self.peer:.2f}{_TIMES}, {_figure(self.ours - self.peer, self.unit, '+')}"
            )
        met = {True: "yes", False: "**no**", None: ""}[self.is_met]
        samples = " / ".join(str(count) for count in self.samples)
        return (self.measure, _figure(self.ours, self.unit), peer, compared, self._aim(), met, samples)

    def _aim(self) -> str:
        if self.aim is None:
            return ""
        if self.aim.of == "ratio":
            return f"≤ {self.aim.limit:g}{_TIMES}"
        return f"≤ {'+' if self.aim.of == 'difference' else ''}{self.aim.limit:g} {self.unit}"

    def as_json(self) -> dict[str, Any]:
        """With all digits."""
        return {**asdict(self), "met": self.is_met}


class Found(NamedTuple):
    """What a part of a measurement has to tell. `picture` is one as SVG."""

    rows: list[Row]
    notes: list[str]
    picture: str | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def spread(
    measure: str,
    unit: str,
    values: Sequence[float],
    points: Mapping[str, float],
    limits: Mapping[str, float] | None = None,
) -> list[Row]:
    """One row for each point (name and share) of the distribution of something that has no peer."""
    return [
        Row(
            f"{measure}, {name}",
            unit,
            percentile(values, share),
            None,
            (len(values),),
            Aim("value", limits[name]) if limits and name in limits else None,
        )
        for name, share in points.items()
    ]


def markdown(machine: Mapping[str, str], rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The whole report as it goes into a file or onto a screen."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", *_table([row.cells() for row in rows]), "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def as_json(machine: Mapping[str, str], rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The same for programs."""
    whole: dict[str, Any] = {"machine": machine, "rows": [row.as_json() for row in rows], "notes": notes}
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode()


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    # Where nothing has a peer, there are no columns for one.
    kept = [column for column in range(len(_HEAD)) if any(cells[column] for cells in rows)]
    cells = [tuple(line[column] for column in kept) for line in (_HEAD, *rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(kept))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def _figure(value: float, unit: str, sign: str = "") -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:{sign}.{digits}f} {unit}"
