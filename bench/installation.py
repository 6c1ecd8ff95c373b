"""A tokentail of real processes: Redis, the demo provider, APIs and workers as they are asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import Process
from bench.scenarios import model_list
from tokentail.stack.redis_server import RedisServer

TOKENTAIL = str(Path(sys.executable).with_name("tokentail"))


class Installation:
    """One installation, all on loopback. `start` it once, `close` it always.

    `scenarios` are the aliases of its model list; `settings` hold for all its processes. Redis listens on TCP
    with an append-only file, as most do.
    """

    def __init__(self, scenarios: Sequence[str], **settings: str) -> None:
        self._scenarios = scenarios
        self._settings = settings
        self._opened = ExitStack()
        self._started = 0

    def start(self) -> None:
        """Start Redis and the demo provider; returns when both are ready. Close it also if this raises."""
        self._logs = Path(self._opened.enter_context(TemporaryDirectory(prefix="tokentail-bench-")))
        self.redis = RedisServer(self._logs / "redis", port=0)
        self._opened.callback(self.redis.stop)
        self.redis_url = self.redis.start().url
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("TOKENTAIL_")}
        self._env["PYTHONUNBUFFERED"] = "1"
        self.provider = self.run("demo-provider", TOKENTAIL, "demo-provider", "--port", "0")
        self.provider_url = self.provider.wait_for(r"demo provider on (\S+)")[1]
        self.models = self._logs / "models.yaml"
        self.models.write_text(model_list(self._scenarios))
        self._env |= {
            "TOKENTAIL_REDIS_URL": self.redis_url,
            "TOKENTAIL_DEMO_URL": f"{self.provider_url}/v1",
            "TOKENTAIL_MODELS": str(self.models),
            # Nobody has to notice that it stops.
            "TOKENTAIL_API_DRAIN_SECONDS": "0",
            **self._settings,
        }

    def spawn_api(self) -> Process:
        """Start an API; it says when it is ready (`api_url`)."""
        return self.run("api", TOKENTAIL, "api", "--port", "0")

    def spawn_worker(self) -> Process:
        """Start a worker; it says when it is ready (`worker_ready`), which takes seconds of CPU."""
        return self.run("worker", TOKENTAIL, "worker")

    def run(self, name: str, *command: str, **env: str) -> Process:
        """Start any command in the environment of this installation, with what else it needs there."""
        self._started += 1
        process = Process(name, command, env=self._env | env, log=self._logs / f"{self._started}-{name}.log")
        self._opened.callback(process.stop)
        return process

    def folder(self, name: str) -> Path:
        """A folder that goes when all is closed."""
        folder = self._logs / name
        folder.mkdir()
        return folder

    def close(self) -> None:
        """End every process that was started here, the newest first."""
        self._opened.close()


def api_url(api: Process) -> str:
    """Where a spawned API listens; waits until it does."""
    return api.wait_for(r"api on (\S+)")[1]


def worker_ready(worker: Process) -> str:
    """The id of a spawned worker; waits until it claims jobs."""
    return worker.wait_for(r"worker (\S+) ready")[1]
