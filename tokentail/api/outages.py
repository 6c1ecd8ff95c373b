"""What an operator reads in the log while Redis is away: a line when that begins and one when it is over."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

import structlog
from redis import exceptions as driver

from tokentail.api.servers import Answer, Server
from tokentail.shared.errors import StoreUnavailable

logger = structlog.get_logger()

#: The driver puts the whole command in front of an error, with all that a user wrote.
_COMMAND = re.compile(r"Command # \d+ .* of pipeline caused error: ", re.DOTALL)
#: Enough for every sentence of the driver and of Redis.
_REASON_CHARACTERS = 300

_CONNECTION_LOST = (driver.ConnectionError, driver.TimeoutError, OSError)


def reason_of(error: StoreUnavailable) -> str:
    """What Redis or the system said, which is more than clients are told. Holds no password and no prompt."""
    cause = error.__cause__
    if isinstance(cause, TimeoutError) and not str(cause):
        return "no answer in time"
    said = _COMMAND.sub("", str(cause or ""))
    return (said or str(error)).rstrip(".")[:_REASON_CHARACTERS]


class Outages:
    """Which servers are away, and since when."""

    def __init__(self) -> None:
        self._since: dict[Server, float] = {}

    def hear(self, answers: Iterable[Answer[Any]]) -> None:
        """Tell what has changed since the last time. All servers have to be among the answers."""
        seen = {answer.server for answer in answers}
        for answer in answers:
            if isinstance(answer.error, StoreUnavailable):
                self._begin(answer.server, reason_of(answer.error))
            else:
                self._end(answer.server, "Redis answers again")
        for server in self._since.keys() - seen:
            # A replica was promoted; or what had no answer was a cluster, whose nodes are known now.
            self._end(server, "another node has taken its place" if server.node else "Redis answers again")

    def _begin(self, server: Server, reason: str) -> None:
        if server not in self._since:
            self._since[server] = time.monotonic()
            logger.warning("Redis is away", **_named(server), reason=reason)

    def _end(self, server: Server, what: str) -> None:
        since = self._since.pop(server, None)
        if since is not None:
            logger.warning(what, **_named(server), away_seconds=round(time.monotonic() - since, 1))


def _named(server: Server) -> dict[str, str]:
    return {"plane": " and ".join(server.planes), "address": server.address}


class Hindrance:
    """Work that a Redis which is there refuses, again and again: told when it begins and when it goes on.

    Of one that is away `Outages` tells, once for all work.
    """

    def __init__(self, deed: str) -> None:
        self._deed = deed
        self._since: float | None = None

    def met(self, error: StoreUnavailable) -> None:
        """It could not be done."""
        if self._since is None and not isinstance(error.__cause__, _CONNECTION_LOST):
            self._since = time.monotonic()
            logger.warning(f"can't {self._deed}", reason=reason_of(error))

    def over(self) -> None:
        """It was done."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 1)
            self._since = None
            logger.warning(f"can {self._deed} again", after_seconds=seconds)
