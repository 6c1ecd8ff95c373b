"""Everything that a comparison needs: an installation with one API and one worker, and the peers."""

from __future__ import annotations

import sys

from bench import proxy
from bench.effort import Effort
from bench.installation import Installation, api_url, worker_ready
from bench.processes import Process
from bench.scenarios import compared

#: Slots that stay free for the jobs that are measured beside those in flight.
_SPARE_SLOTS = 40


class Stack:
    """One installation and its peers, all on loopback. `start` it once, `close` it always.

    One API process and one worker process, so that all jobs in flight are on the event loop that also has to
    pick up the next one.
    """

    def __init__(self, effort: Effort, *, with_proxy: bool = False) -> None:
        self._with_proxy = with_proxy
        concurrency = str(effort.in_flight + _SPARE_SLOTS)
        self._installation = Installation(compared(effort), TOKENTAIL_CONCURRENCY=concurrency)
        #: None if it was not asked for, or is not there.
        self.proxy: Process | None = None
        self.proxy_url = ""

    def start(self) -> Stack:
        """Start all processes; returns when all are ready. Closes itself when one is not."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self._installation.start()
        self.redis_url = self._installation.redis_url
        self.provider_url = self._installation.provider_url
        self.worker = self._installation.spawn_worker()
        self.api = self._installation.spawn_api()
        self.plain = self._peer("plain_fastapi")
        self.bare = self._peer("bare_loop")
        arq = self._peer("stock_arq")
        if self._with_proxy and proxy.is_there():
            self.proxy, self.proxy_url = proxy.start(self._installation)
        # Started together, waited for together: most of it is the import of litellm.
        self.api_url = api_url(self.api)
        self.plain_url = self.plain.wait_for(r"plain on (\S+)")[1]
        self.bare.wait_for("bare ready")
        arq.wait_for("arq ready")
        worker_ready(self.worker)
        if self.proxy is not None:
            proxy.ready(self.proxy, self.proxy_url)

    def _peer(self, name: str) -> Process:
        return self._installation.run(name, sys.executable, "-m", f"bench.peers.{name}")

    def close(self) -> None:
        """End every process that was started here, the newest first."""
        self._installation.close()
