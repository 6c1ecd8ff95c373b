"""A whole tokentail of real processes, with a relay on every way between them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from redis.asyncio import Redis

from chaos import faults
from chaos.processes import Process
from chaos.relay import Relay
from chaos.scenarios import model_list
from tokentail.stack.address import reserve_port
from tokentail.stack.redis_server import RedisServer

TOKENTAIL = str(Path(sys.executable).with_name("tokentail"))

#: Short, so that a schedule of seconds sees what operators see in minutes; long enough for two busy cores.
SETTINGS = {
    "TOKENTAIL_LEASE_SECONDS": "2.5",
    "TOKENTAIL_DRAIN_SECONDS": "1.5",
    "TOKENTAIL_API_DRAIN_SECONDS": "1",
    "TOKENTAIL_FIRST_TOKEN_SECONDS": "3",
    "TOKENTAIL_IDLE_SECONDS": "3",
    "TOKENTAIL_DEADLINE_SECONDS": "90",
    "TOKENTAIL_PING_SECONDS": "1",
    "TOKENTAIL_STREAM_SECONDS": "6",
    "TOKENTAIL_SEND_SECONDS": "3",
}

#: How long this side waits for Redis when it looks at it directly.
_LOOK_SECONDS = 2.0


class Installation:
    """Redis, the demo provider, APIs and workers, and the relays between them. `start` once, `stop` always.

    Redis syncs every write to disk before it answers (appendfsync always): then a kill loses nothing that was
    acknowledged, and every loss that is found is ours.
    """

    def __init__(self, folder: Path, *, workers: int, apis: int) -> None:
        self.folder = folder
        self.redis = RedisServer(folder / "redis", port=0)
        self.relays: dict[str, Relay] = {}
        self.workers: list[Process] = []
        self.apis: list[Process] = []
        self.api_urls: list[str] = []
        self.provider_url = ""
        self._numbers = workers, apis
        self._provider: Process | None = None
        #: Around the relays.
        self.direct: Redis

    async def start(self) -> None:
        """Start everything, and return when all of it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await self.start_redis()
        self.direct = Redis.from_url(
            self.redis.url, socket_timeout=_LOOK_SECONDS, socket_connect_timeout=_LOOK_SECONDS
        )
        env = {name: value for name, value in os.environ.items() if not name.startswith("TOKENTAIL_")}
        env |= {"PYTHONUNBUFFERED": "1", **SETTINGS}
        options = ("demo-provider", "--port", "0")
        self._provider = self._process("provider", *options, env=env, ready=r"demo provider on (\S+)")
        self.provider_url = (await self._provider.ready())[1]
        models = self.folder / "models.yaml"
        models.write_text(model_list())
        env |= {"TOKENTAIL_MODELS": str(models)}
        await self._start_both_sides(env)

    async def _start_both_sides(self, env: dict[str, str]) -> None:
        provider = await self._relay(faults.WORKERS_TO_PROVIDER, self.provider_url)
        worker_redis = await self._relay(faults.WORKERS_TO_REDIS, self.redis.url)
        api_redis = await self._relay(faults.APIS_TO_REDIS, self.redis.url)
        workers, apis = self._numbers
        for number in range(workers):
            given = env | {
                "TOKENTAIL_REDIS_URL": f"redis://127.0.0.1:{worker_redis}/0",
                "TOKENTAIL_DEMO_URL": f"http://127.0.0.1:{provider}/v1",
            }
            self.workers.append(
                self._process(f"worker-{number}", "worker", env=given, ready=r"worker \S+ ready")
            )
        for number in range(apis):
            port = reserve_port("127.0.0.1", 0)
            self.api_urls.append(f"http://127.0.0.1:{port}")
            given = env | {"TOKENTAIL_REDIS_URL": f"redis://127.0.0.1:{api_redis}/0"}
            options = ("api", "--port", str(port))
            self.apis.append(self._process(f"api-{number}", *options, env=given, ready=r"api on (\S+)"))
        await self.all_ready()

    async def _relay(self, name: str, url: str) -> int:
        parts = urlsplit(url)
        self.relays[name] = Relay(str(parts.hostname), int(parts.port or 0))
        return await self.relays[name].start()

    def _process(self, name: str, *command: str, env: dict[str, str], ready: str) -> Process:
        process = Process(name, [TOKENTAIL, *command], env=env, ready=ready, logs=self.folder)
        process.start()
        return process

    async def start_redis(self) -> None:
        """Start Redis, also again after its end; its data is what it was."""
        # The leash ties it to this thread; waiting may happen elsewhere.
        self.redis.spawn()
        await asyncio.to_thread(self.redis.wait_ready)
        async with Redis.from_url(self.redis.url) as redis:
            await redis.config_set("appendfsync", "always")

    async def all_ready(self) -> None:
        """Wait until every worker and API has said that it is ready. Raises NotReady."""
        for process in (*self.workers, *self.apis):
            await process.ready()

    async def empty(self) -> None:
        """Forget all jobs and all requests to the provider, for the next run."""
        await self.direct.flushall()
        async with httpx.AsyncClient(trust_env=False) as http:
            (await http.post(f"{self.provider_url}/reset")).raise_for_status()

    async def stop(self) -> None:
        """End every process that was started here, each by its own id, and close the relays."""
        provider = [self._provider] if self._provider is not None else []
        for process in (*self.workers, *self.apis, *provider):
            process.kill()
        self.redis.kill()
        for relay in self.relays.values():
            await relay.close()
        if hasattr(self, "direct"):
            await self.direct.aclose()
