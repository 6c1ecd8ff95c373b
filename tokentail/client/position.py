"""Where a follower stands in a log, and the check that nothing was lost on the way. No I/O."""

from __future__ import annotations

from typing import Any

import orjson

from tokentail.client.errors import MalformedCursor, ProtocolError
from tokentail.client.sse import ServerSentEvent
from tokentail.client.steps import Entry
from tokentail.shared.cursor import START, Cursor
from tokentail.shared.events import ENDINGS

#: Where to begin: a cursor, its text form, or None for the beginning.
After = Cursor | str | None

_IN_THE_LOG = ENDINGS | {"attempt", "delta"}


def cursor_from(after: After) -> Cursor | None:
    """Read what a caller gave as a place to begin. Raises MalformedCursor."""
    return Cursor.parse(after) if isinstance(after, str) else after


class BrokenLog(ProtocolError):
    """What came is not the log's next entry. Reading again from the last good cursor may help once."""


class Position:
    """The cursor after the last good entry (None: before the first), and whether the ending was there."""

    def __init__(self, cursor: Cursor | None) -> None:
        self.cursor = cursor
        self.ended = False
        self._last_id = ""

    def take(self, received: ServerSentEvent) -> Entry:
        """Take what was received as the next entry, and move on. Raises BrokenLog, and stays, if it isn't."""
        event = _event(received.data)
        kind = event["type"]
        named, self._last_id = received.id not in ("", self._last_id), received.id
        if kind == "reset":
            # The log follows from its start. Losing the connection now must not bring back the cursor
            # that the server could not prove.
            self.cursor = None
        elif named or kind in _IN_THE_LOG:
            self.cursor = self._next(received.id, kind)
        self.ended = kind in ENDINGS
        return Entry(self.cursor, event)

    def _next(self, entry_id: str, kind: str) -> Cursor:
        try:
            cursor = Cursor.parse(entry_id)
        except MalformedCursor:
            raise BrokenLog(f"The server sent an entry with the id {entry_id!r}.") from None
        # A snapshot stands for many entries; it alone may leap.
        if kind != "snapshot" and not _follows(cursor, self.cursor or START):
            raise BrokenLog(f"The server sent entry {cursor} after {self.cursor or 'the start of the log'}.")
        return cursor


def _follows(cursor: Cursor, last: Cursor) -> bool:
    """Within a fence `seq` is dense, and each newer fence begins at 0."""
    if cursor.fence == last.fence:
        return cursor.seq == last.seq + 1
    return cursor.fence > last.fence and cursor.seq == 0


def _event(data: str) -> dict[str, Any]:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise BrokenLog("The server sent an event that is not a JSON object with a type.")
    return event
