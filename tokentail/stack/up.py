"""`tokentail up`: which processes make the all-in-one stack, and what each is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tokentail.shared.models import ModelList
from tokentail.shared.settings import PREFIX, Settings
from tokentail.stack.address import local_url, refuse_open_door, reserve_port
from tokentail.stack.child import Child
from tokentail.stack.console import Console
from tokentail.stack.environment import without_keys
from tokentail.stack.redis_binary import find_redis
from tokentail.stack.redis_server import RedisServer
from tokentail.stack.supervisor import Supervisor

#: Somebody waits at the terminal. What does not end in this time is kept and goes on at the next start.
DRAIN_SECONDS = 3.0
#: And there is no other API to which clients could be led one after the other.
API_DRAIN_SECONDS = 0.0
#: Between two looks at /readyz.
READY_POLL_SECONDS = 0.05
#: Stands for our own server's address, which is known only when it runs, and hides what the environment says.
_OWN_REDIS = "unix:///own"


@dataclass(frozen=True)
class Plan:
    """What the operator asked for. `options` are the settings given on the command line."""

    host: str
    port: int
    workers: int
    data: Path
    redis_server: Path | None
    options: Mapping[str, str]


def up(plan: Plan) -> int:
    """Run the stack until a signal ends it; the exit code.

    Raises ConfigError before anything has been started if something is in the way, and TokentailError,
    everything ended, if a process keeps dying.
    """
    console = Console()
    settings = _settings(plan, console)
    refuse_open_door(plan.host, settings.auth)
    models = ModelList.load(settings.models or ModelList.demo_path())
    binary = find_redis(plan.redis_server)
    redis = RedisServer(plan.data / "redis", binary=binary.path)
    try:
        redis.lock()
        port = reserve_port(plan.host, plan.port)
        console.starting(binary.version_text, plan.workers, settings.models)
        stack = _Stack(plan, settings=settings, models=models, redis=redis, port=port, console=console)
        asyncio.run(stack.run())
    finally:
        redis.stop()
    console.stopped(plan.data)
    return 0


def _settings(plan: Plan, console: Console) -> Settings:
    if f"{PREFIX}REDIS_URL" in os.environ or f"{PREFIX}LOG_REDIS_URL" in os.environ:
        console.note("TOKENTAIL_REDIS_URL is not used here: `up` runs a Redis of its own.")
    options = dict(plan.options)
    for name, seconds in (("drain_seconds", DRAIN_SECONDS), ("api_drain_seconds", API_DRAIN_SECONDS)):
        if f"{PREFIX}{name.upper()}" not in os.environ:
            options.setdefault(name, str(seconds))
    return Settings.load(**options, redis_url=_OWN_REDIS, log_redis_url=_OWN_REDIS)


class _Stack:
    """The parts, wired together."""

    def __init__(
        self,
        plan: Plan,
        *,
        settings: Settings,
        models: ModelList,
        redis: RedisServer,
        port: int,
        console: Console,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._models = models
        self._redis = redis
        self._port = port
        self._console = console
        self._logs = plan.data / "logs"
        self._provider = None if settings.models else self._demo_provider()

    async def run(self) -> None:
        self._plan.data.chmod(0o700)  # The logs may quote what people asked.
        self._logs.mkdir(exist_ok=True)
        await Supervisor(
            self._redis,
            self._provider,
            self._serving,
            drain_seconds=max(self._settings.drain_seconds, self._settings.api_drain_seconds),
            on_ready=self._announce,
            console=self._console,
        ).run()

    def _demo_provider(self) -> Child:
        env = without_keys(os.environ, self._models)
        ready = r"demo provider on http://127\.0\.0\.1:(\d+)"
        return self._child("demo-provider", ["demo-provider", "--port", "0"], env, ready)

    def _serving(self, demo_port: str | None) -> Sequence[Child]:
        """API and workers, once it is known where the demo provider listens."""
        env = self._environment(demo_port)
        if self._provider is not None and demo_port is not None:
            self._provider.command[-1] = demo_port  # Should it be restarted, then where it was.
        address = ["--host", self._plan.host, "--port", str(self._port)]
        api = self._child("api", ["api", *address], without_keys(env, self._models), r"\bapi on (http://\S+)")
        numbers = range(1, self._plan.workers + 1)
        workers = [self._child(f"worker-{n}", ["worker"], env, r"\bworker (\S+) ready") for n in numbers]
        return [api, *workers]

    def _environment(self, demo_port: str | None) -> dict[str, str]:
        # Only what differs from the default is passed on, so that each process still shows its own mind.
        given = self._settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        env = dict(os.environ) | {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}
        env |= {f"{PREFIX}REDIS_URL": self._redis.url, f"{PREFIX}LOG_REDIS_URL": self._redis.url}
        env |= {f"{PREFIX}WAIT_REPLICAS": "0"}  # It has none.
        if self._settings.models is not None:
            env[f"{PREFIX}MODELS"] = str(self._settings.models.absolute())
        if demo_port is not None:
            env[f"{PREFIX}DEMO_URL"] = f"http://127.0.0.1:{demo_port}/v1"
        return env

    def _child(self, name: str, words: Sequence[str], env: Mapping[str, str], ready: str) -> Child:
        return Child(
            name,
            [str(Path(sys.executable).with_name("tokentail")), *words],
            env={**env, "PYTHONUNBUFFERED": "1"},  # Or the line that says "ready" waits in a buffer.
            ready=ready,
            log_directory=self._logs,
            on_alarm=self._console.alarm,
        )

    async def _announce(self) -> None:
        url = local_url(self._plan.host, self._port)
        async with httpx.AsyncClient(trust_env=False) as client:
            await _until_ready(client, url)
        self._console.ready(url, self._models.aliases[0], self._plan.data)


async def _until_ready(client: httpx.AsyncClient, url: str) -> None:
    while True:
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.get(f"{url}/readyz")
            if answer.status_code == httpx.codes.OK:
                return
        await asyncio.sleep(READY_POLL_SECONDS)
