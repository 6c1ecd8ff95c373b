"""Everything that a run needs: Redis, the demo provider, a real API and worker, and the peers."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.effort import Effort
from bench.processes import Process
from bench.scenarios import model_list
from tokentail.stack.redis_server import RedisServer

TOKENTAIL = str(Path(sys.executable).with_name("tokentail"))

#: Slots that stay free for the jobs that are measured beside those in flight.
_SPARE_SLOTS = 40


class Stack:
    """One installation and its peers, all on loopback. `start` it once, `close` it always.

    Redis listens on TCP with an append-only file, as most do; one API process and one worker process, so that
    all jobs in flight are on the event loop that also has to pick up the next one.
    """

    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._opened = ExitStack()

    def start(self) -> Stack:
        """Start all processes; returns when all are ready. Closes itself when one is not."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        folder = Path(self._opened.enter_context(TemporaryDirectory(prefix="tokentail-bench-")))
        self._logs = folder
        redis = RedisServer(folder / "redis", port=0)
        self._opened.callback(redis.stop)
        self.redis_url = redis.start().url
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("TOKENTAIL_")}
        self._env["PYTHONUNBUFFERED"] = "1"
        self.provider = self._run("demo-provider", TOKENTAIL, "demo-provider", "--port", "0")
        self.provider_url = self.provider.wait_for(r"demo provider on (\S+)")[1]
        models = folder / "models.yaml"
        models.write_text(model_list(self._effort))
        self._env |= {
            "TOKENTAIL_REDIS_URL": self.redis_url,
            "TOKENTAIL_DEMO_URL": f"{self.provider_url}/v1",
            "TOKENTAIL_MODELS": str(models),
            "TOKENTAIL_CONCURRENCY": str(self._effort.in_flight + _SPARE_SLOTS),
        }
        self._start_both_sides()

    def _start_both_sides(self) -> None:
        self.worker = self._run("worker", TOKENTAIL, "worker")
        self.api = self._run("api", TOKENTAIL, "api", "--port", "0")
        self.plain = self._peer("plain_fastapi")
        self.bare = self._peer("bare_loop")
        self.arq = self._peer("stock_arq")
        # Started together, waited for together: most of it is the import of litellm.
        self.api_url = self.api.wait_for(r"api on (\S+)")[1]
        self.plain_url = self.plain.wait_for(r"plain on (\S+)")[1]
        self.bare.wait_for("bare ready")
        self.arq.wait_for("arq ready")
        self.worker.wait_for(r"worker \S+ ready")

    def _peer(self, name: str) -> Process:
        return self._run(name, sys.executable, "-m", f"bench.peers.{name}")

    def _run(self, name: str, *command: str) -> Process:
        process = Process(name, command, env=self._env, logs=self._logs)
        self._opened.callback(process.stop)
        return process

    def close(self) -> None:
        """End every process that was started here, the newest first."""
        self._opened.close()
