"""Entries → what the model says, and when to forget it. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from tokentail.client.errors import JobCancelled, JobFailed, StreamRestarted
from tokentail.client.job import Result
from tokentail.client.steps import Entry
from tokentail.shared.cursor import Cursor
from tokentail.shared.events import ENDINGS, Attempt, Delta, Ending, Reason
from tokentail.shared.fold import Fold


@dataclass(frozen=True, slots=True)
class Restarted:
    """Everything received so far is void: forget it, the answer follows from its beginning.

    `attempt` is the number of the attempt that begins. It is None for `reset`: the server has lost the
    place where we were and tells the story from its start.
    """

    reason: Reason | Literal["reset"]
    attempt: int | None = None


class Transcript:
    """The state of following one job: what has been said, up to which cursor, and how it ended.

    A transcript that began in the middle, after some cursor, knows only what came since, until a new
    attempt or a reset makes it whole.
    """

    def __init__(self, job_id: str, after: Cursor | None) -> None:
        self.job_id = job_id
        #: Following from here shows what comes next. None: from the beginning.
        self.cursor = after
        #: How the job ended; None until it has.
        self.ending: Ending | None = None
        self._fold = Fold()
        self._whole = after is None
        self._begun = after is not None

    @property
    def text(self) -> str:
        """The text so far, of the newest attempt."""
        return self.result_so_far.text

    @property
    def result_so_far(self) -> Result:
        """Everything said so far in the newest attempt, collected."""
        ending = self.ending
        return Result(
            job_id=self.job_id,
            **self._fold.result(),
            usage=ending.get("usage") if ending else None,
            cost_usd=ending.get("cost_usd") if ending and ending["type"] == "completed" else None,
        )

    def take(self, entry: Entry) -> Delta | Restarted | None:
        """Take the next entry in. What it means to a reader: more, all anew, or nothing to show."""
        self.cursor = entry.cursor
        kind = entry.event["type"]
        if kind == "reset":
            self._fold, self._whole, self._begun = Fold(), True, False
            return Restarted("reset")
        if kind == "attempt":
            return self._attempt(cast(Attempt, entry.event))
        if kind in ENDINGS:
            self.ending = cast(Ending, entry.event)
        self._fold.add(entry.event)
        return cast(Delta, entry.event) if kind == "delta" else None

    def _attempt(self, event: Attempt) -> Restarted | None:
        self._fold.add(event)
        begun, self._begun = self._begun, True
        if event.get("continues", False):
            return None
        self._whole = True
        return Restarted(event["reason"], event["attempt"]) if begun else None

    def final_result(self) -> Result | None:
        """The result, if the transcript has seen all that it takes. Raises JobFailed or JobCancelled."""
        if self.ending is None:
            return None
        if self.ending["type"] == "failed":
            raise JobFailed(self.job_id, self.ending)
        if self.ending["type"] == "cancelled":
            raise JobCancelled(self.job_id, self.ending)
        return self.result_so_far if self._whole else None


class TextPieces:
    """A transcript as plain text, which can't be taken back once it is given out.

    So when text was given and the answer begins again, somebody has to know: `on_restart` is called, or
    else StreamRestarted is raised. Two answers are never run together.
    """

    def __init__(self, job_id: str, on_restart: Callable[[Restarted], object] | None) -> None:
        self._job_id = job_id
        self._on_restart = on_restart
        self._given = False

    def take(self, item: Delta | Restarted) -> str:
        """The text that an item adds, "" if none."""
        if isinstance(item, Restarted):
            self._restart(item)
            return ""
        text = item.get("content") or ""
        self._given = self._given or bool(text)
        return text

    def _restart(self, restarted: Restarted) -> None:
        if not self._given:
            return
        if self._on_restart is None:
            raise StreamRestarted(self._job_id, restarted)
        self._given = False
        self._on_restart(restarted)
