"""A position in a log. The only place that knows how `<fence>-<seq>` is written."""

from __future__ import annotations

import re
from typing import NamedTuple

from tokentail.shared.errors import MalformedCursor

# At most 19 digits a half: always below Redis's limit of 2**64 - 1, and one spelling per position.
_WRITTEN = re.compile(r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})", re.ASCII)


class Cursor(NamedTuple):
    """Everything up to and including this entry has been seen. Cursors order as their log does.

    `fence` orders attempts, `seq` counts an attempt's entries from 0 without a gap. The text form is
    at once the entry's id in Redis, the SSE `id` and what a client sends back to resume.
    """

    fence: int
    seq: int

    @classmethod
    def parse(cls, text: str | bytes) -> Cursor:
        """Read a cursor. Raises MalformedCursor for anything but the one way to write it."""
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise MalformedCursor("A cursor is written <fence>-<seq>, as in 1763881234567-42.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.fence}-{self.seq}"


#: Before the first entry of any log.
START = Cursor(0, 0)
