"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Which variable names a server that findings call so.
VARIABLES = {"redis": "TOKENTAIL_REDIS_URL", "log redis": "TOKENTAIL_LOG_REDIS_URL"}


class Verdict(StrEnum):
    OK = "ok"
    #: It works, but not as it should, or not for everybody.
    WARN = "warn"
    #: Jobs can't run, or can be lost.
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """What one check found. `advice` is a sentence, there unless all is well."""

    check: str
    verdict: Verdict
    found: str
    advice: str | None = None
