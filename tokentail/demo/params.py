"""What a scenario can be asked to vary, and how that is written: `counted?tokens=500&pace_ms=2`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from tokentail.demo.errors import ProviderError

#: One hour. Longer pauses than this are what `hang` is for.
_LONGEST_PAUSE_MS = 3_600_000
#: A stream of a million tokens is 200 MB on the wire: enough for any benchmark, too few to fill a disk.
_MOST_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Params:
    """Every parameter of every scenario; each scenario takes some and may have defaults of its own."""

    #: How many tokens the answer has in all, the one with the nonce included.
    tokens: int = 20
    #: Milliseconds from one token to the next. The schedule is absolute: late tokens catch up.
    pace_ms: float = 0
    #: Milliseconds before the first token.
    first_ms: float = 0
    #: How many tokens come before that which the scenario is about (0: none).
    after: int = 3
    #: Whether the response's head and its opening chunk go out at once, or only with the first token.
    head: bool = True
    #: Whether a silent stream keeps sending SSE comments.
    comments: bool = False
    #: Whether the stream ends with `data: [DONE]`.
    done: bool = True
    #: The gate at which `wait` waits.
    gate: str = "default"
    #: How many requests with the same key fail; None: all.
    times: int | None = None
    #: Whether the count starts again after a request that was let through.
    again: bool = False
    #: What counts as the same request for `times`. Its default is the whole model string.
    key: str = ""
    #: The value of Retry-After, in seconds.
    retry_after: float = 1
    #: The delta's member that carries reasoning.
    field: str = "reasoning_content"


def read(text: str, taken: tuple[str, ...]) -> dict[str, Any]:
    """Read a query string, of which only the parameters in `taken` are known.

    Raises ProviderError (400) that names the parameter and says what it may be.
    """
    values: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in taken:
            raise _bad(name, f"Unknown parameter {name!r}; this scenario takes {', '.join(sorted(taken))}.")
        if name in values:
            raise _bad(name, f"Parameter {name!r} is given twice.")
        try:
            values[name] = _READERS[name](value)
        except ValueError:
            raise _bad(name, f"Parameter {name!r} must be {_READERS[name].__doc__}.") from None
    return values


def _bad(name: str, message: str) -> ProviderError:
    return ProviderError(400, message, param=name, code="invalid_parameter")


def _pause(text: str) -> float:
    """a number of milliseconds from 0 to an hour"""
    return _between(float(text), 0, _LONGEST_PAUSE_MS)


def _seconds(text: str) -> float:
    """a number of seconds from 0 to an hour"""
    return _between(float(text), 0, _LONGEST_PAUSE_MS / 1000)


def _count(text: str) -> int:
    """a whole number from 0 to 1000000"""
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(_between(int(text), 0, _MOST_TOKENS))


def _flag(text: str) -> bool:
    """0 or 1"""
    return {"0": False, "1": True}[text] if text in {"0", "1"} else _fail()


def _word(text: str) -> str:
    """1 to 100 characters"""
    return text if 1 <= len(text) <= 100 else _fail()


def _reasoning_field(text: str) -> str:
    """reasoning_content or reasoning"""
    return text if text in {"reasoning_content", "reasoning"} else _fail()


def _between(number: float, low: float, high: float) -> float:
    return number if math.isfinite(number) and low <= number <= high else _fail()


def _fail() -> Any:
    raise ValueError


_READERS: dict[str, Callable[[str], Any]] = {
    "tokens": _count,
    "pace_ms": _pause,
    "first_ms": _pause,
    "after": _count,
    "head": _flag,
    "comments": _flag,
    "done": _flag,
    "gate": _word,
    "times": _count,
    "again": _flag,
    "key": _word,
    "retry_after": _seconds,
    "field": _reasoning_field,
}
