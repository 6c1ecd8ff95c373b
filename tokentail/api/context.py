"""What every route works with; made once per process by the app's lifespan."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import structlog
from redis.asyncio import Redis
from starlette.requests import HTTPConnection

from tokentail.api.headroom import Headroom
from tokentail.api.limits import Limits, Streams
from tokentail.api.lookups import Lookups
from tokentail.api.outages import reason_of
from tokentail.api.servers import Servers
from tokentail.api.tails import Tails
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

#: Owner of all jobs while there are no keys.
TENANT = "default"

#: One warning stands for the refusals of so long: an outage refuses a thousand requests, for one reason.
REFUSALS_SECONDS = 10.0

logger = structlog.get_logger()


@dataclass
class Context:
    """One API process. `draining` once it was told to stop: not ready, and neither new jobs nor new streams.
    `is_broken` once it had to tell itself."""

    settings: Settings
    models: ModelList
    redis: Redis
    queue: Queue
    logs: Logs
    tails: Tails
    servers: Servers
    headroom: Headroom
    lookups: Lookups = field(init=False)
    streams: Streams = field(init=False)
    draining: bool = field(default=False)
    is_broken: bool = field(default=False)
    #: When (monotonic) a request was last refused because Redis can't be used.
    _refused_at: float = field(default=-math.inf)

    def __post_init__(self) -> None:
        self.lookups = Lookups(self.queue, self.logs)
        self.streams = Streams(Limits.of(self.settings))

    def refused(self, error: StoreUnavailable) -> None:
        """Tell the operator why requests are refused; not for each of a thousand."""
        if time.monotonic() - self._refused_at > REFUSALS_SECONDS:
            logger.warning("requests are refused", reason=str(error), cause=reason_of(error))
            self._refused_at = time.monotonic()


def context_of(connection: HTTPConnection) -> Context:
    """The context of the process that serves a request."""
    return connection.app.state.context  # type: ignore[no-any-return]
