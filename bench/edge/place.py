"""All processes of the edge's measures: Redis, one API, the producer, the load, and the peers that are asked
for, each on its core."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from bench.edge.cores import REST, SERVER, pin, raise_file_limit
from bench.edge.crowd import Crowd
from bench.edge.feed import Feed
from bench.edge.redis_watch import RedisWatch
from bench.edge.side import Side
from bench.installation import Installation, api_url
from bench.processes import Process
from bench.scenarios import SHORT

_OURS = "/v1/jobs/{}/events"


class Place:
    """`start` it once, `close` it always."""

    def __init__(self) -> None:
        # No stream may come to its greatest age while it is measured.
        self._installation = Installation([SHORT], TOKENTAIL_STREAM_SECONDS="3600")
        self._peers: dict[Callable[[Place], Side], Side] = {}

    def start(self) -> Place:
        """Start what every measure needs. Closes itself when something does not start."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        raise_file_limit()
        self._installation.start()
        pin(self._installation.redis.pid, REST)
        self.redis = RedisWatch(self._installation.redis_url, self._installation.redis.pid)
        self.redis_port = int(self._installation.redis_url.rpartition(":")[2].partition("/")[0])
        self.crowd = Crowd(self.helper("load", "bench.edge.load"))
        producer = self.helper("producer", "bench.edge.producer")
        producer.wait_for("producer ready")
        self.api = self._installation.spawn_api()
        url = api_url(self.api)
        pin(self.api.pid, SERVER)
        self.ours = Side("tokentail", self.api.pid, url, _OURS, Feed(producer), before=1)

    def helper(self, name: str, module: str, *args: str) -> Process:
        """Start one of our own programs beside the server under test."""
        return self.run(name, REST, sys.executable, "-m", module, *args)

    def run(self, name: str, cores: frozenset[int], *command: str) -> Process:
        """Start any program on these cores."""
        process = self._installation.run(name, *command)
        pin(process.pid, cores)
        return process

    def once(self, start: Callable[[Place], Side]) -> Side:
        """A peer, started when it is first asked for."""
        if start not in self._peers:
            self._peers[start] = start(self)
        return self._peers[start]

    def folder(self, name: str) -> Path:
        """A folder for somebody's files while this is open."""
        return self._installation.folder(name)

    def close(self) -> None:
        """End everything that was started."""
        self._installation.close()
