"""What a worker gets from the queue: claimed jobs, and what becomes of its hold on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from tokentail.shared.job import Record, fields_of


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker has just claimed. `now` is Redis's time of the claim in ms; `request` is None
    only if somebody removed it behind our back."""

    job_id: str
    fence: int
    request: dict[str, Any] | None
    record: Record
    envelope: bytes
    now: int

    @classmethod
    def parse(cls, now: int, job_id: bytes, fence: bytes, request: bytes, flat: list[bytes]) -> Claim:
        """Read one job of the claim script's answer."""
        name, fields = job_id.decode(), fields_of(flat)
        record = Record.parse(name, fields)
        return cls(name, int(fence), orjson.loads(request), record, fields[b"envelope"], now)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim brought, and after how many seconds another may bring more (None: wait for the bell)."""

    jobs: list[Claim]
    wait_seconds: float | None


class Held(StrEnum):
    """What a renewal says of one job: still ours; ours, but to be cancelled; not ours; deleted."""

    HELD = "held"
    CANCEL = "cancel"
    LOST = "lost"
    GONE = "gone"
