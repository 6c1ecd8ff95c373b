"""What the provider remembers of its requests, for those who want to see what reached it."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tokentail.demo.params import Params

State = Literal["open", "finished", "client_closed", "error"]

#: Far more requests than a test looks back on, few enough to be read at once.
_REMEMBERED = 500


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Record:
    """One chat request. Monotonic times are the machine's, so another process's can be compared.

    `tokens` counts what was handed to the connection. `status` is null until the head has been sent.
    """

    id: str
    model: str
    key: str
    stream: bool
    #: Without `authorization`; `authorized` tells whether there was one.
    headers: dict[str, str]
    authorized: bool
    #: The names of all the body's members, and the values of all but `messages`.
    names: list[str]
    parameters: dict[str, Any]
    state: State = "open"
    status: int | None = None
    tokens: int = 0
    started_monotonic: float = field(default_factory=time.monotonic)
    started_at: str = field(default_factory=_now)
    first_token_monotonic: float | None = None
    ended_monotonic: float | None = None
    ended_at: str | None = None

    def sent(self, tokens: int) -> None:
        """So many tokens more have been handed to the connection."""
        if tokens and self.first_token_monotonic is None:
            self.first_token_monotonic = time.monotonic()
        self.tokens += tokens


class Ledger:
    """The last requests, and counts of all since the start or the last `clear`."""

    def __init__(self) -> None:
        self.open_streams = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything but the requests that are in flight."""
        self._records: deque[Record] = deque(maxlen=_REMEMBERED)
        self._ended: Counter[State] = Counter()
        self._failures: Counter[str] = Counter()
        self._started = 0

    def open(self, record: Record) -> None:
        """A request has been read and is about to be answered."""
        self._records.append(record)
        self._started += 1
        self.open_streams += 1

    def close(self, record: Record, state: State) -> None:
        """It has ended, in this way."""
        record.state = state
        record.ended_monotonic = time.monotonic()
        record.ended_at = _now()
        self._ended[state] += 1
        self.open_streams -= 1

    def fails(self, params: Params) -> bool:
        """Whether a request with this key is one of the first `times`. Counts it if so."""
        if params.times is None:
            return True
        if self._failures[params.key] < params.times:
            self._failures[params.key] += 1
            return True
        if params.again:
            del self._failures[params.key]
        return False

    def as_json(self) -> dict[str, Any]:
        """All of it, oldest request first."""
        return {
            "open_streams": self.open_streams,
            "started": self._started,
            "ended": {state: self._ended[state] for state in ("finished", "client_closed", "error")},
            "requests": [asdict(record) for record in self._records],
        }
