"""A whole tokentail of real processes, and a client that sees what the wire says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson
from processes import TOKENTAIL, Running

from tokentail.client.sse import Decoder
from tokentail.stack.redis_server import RedisServer

#: Short, so that takeovers are seen soon; long enough for two busy cores.
LEASE_SECONDS = 2.0


class Installation:
    """Redis, a demo provider, one API, and workers as they are asked for.

    `redis` is what has the `url`: a server, or servers behind sentinels. `scenarios`: what the provider does,
    by the alias under which it is asked for.
    """

    def __init__(self, redis: RedisServer | Any, scenarios: Mapping[str, str], **settings: str) -> None:
        self.redis = redis
        self._folder = TemporaryDirectory(prefix="tokentail-models-")
        models = Path(self._folder.name) / "models.yaml"
        models.write_text(model_list(scenarios))
        self.provider = Running([TOKENTAIL, "demo-provider", "--port", "0"])
        self.provider_url = self.provider.wait_for(r"demo provider on (\S+)")[1]
        self.env = {
            "TOKENTAIL_REDIS_URL": redis.url,
            "TOKENTAIL_DEMO_URL": f"{self.provider_url}/v1",
            "TOKENTAIL_MODELS": str(models),
            "TOKENTAIL_LEASE_SECONDS": str(LEASE_SECONDS),
            # No balancer has to notice that an API stops.
            "TOKENTAIL_API_DRAIN_SECONDS": "0",
            **settings,
        }
        self._processes = [self.provider]
        self.api = self.start_api()
        self.workers: list[Running] = []

    def start_api(self, *options: str, **settings: str) -> Running:
        """One more API; `url` of the installation is the newest one's."""
        api = self._start("api", "--port", "0", *options, **settings)
        self.url = api.wait_for(r"api on (\S+)")[1]
        return api

    def start_worker(self, **settings: str) -> Running:
        """One more worker, ready to claim."""
        worker = self._start("worker", **settings)
        worker.wait_for(r"worker \S+ ready")
        self.workers.append(worker)
        return worker

    def _start(self, *command: str, **settings: str) -> Running:
        process = Running([TOKENTAIL, *command], env={**self.env, **settings})
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End every process that was started here, stopped ones too."""
        for process in reversed(self._processes):
            if process.process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
            process.close()
        self._folder.cleanup()


def model_list(scenarios: Mapping[str, str]) -> str:
    """The `models.yaml` of these aliases, each one of the demo provider's scenarios."""
    entries = [
        f"  - model_name: {alias}\n    litellm_params:\n      model: openai/{scenario}\n"
        "      api_base: os.environ/TOKENTAIL_DEMO_URL\n      api_key: demo\n"
        for alias, scenario in scenarios.items()
    ]
    return "model_list:\n" + "".join(entries)


@dataclass
class Seen:
    """What one follower has seen: every event with its id, in order, and how its connection ended."""

    status: int = 0
    events: list[tuple[str | None, dict[str, Any]]] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)

    @property
    def ids(self) -> list[str | None]:
        return [event_id for event_id, _ in self.events]

    @property
    def types(self) -> list[str]:
        return [event["type"] for _, event in self.events]

    @property
    def text(self) -> str:
        """The content as a follower that obeys `attempt` and `reset` would show it."""
        pieces: list[str] = []
        for _, event in self.events:
            if event["type"] in ("attempt", "reset"):
                pieces.clear()
            pieces.append(event.get("content") or "")
        return "".join(pieces)

    @property
    def endings(self) -> list[str]:
        return [kind for kind in self.types if kind in ("completed", "failed", "cancelled")]


class Wire:
    """The native protocol, spoken directly."""

    def __init__(self, url: str, provider_url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=30, verify=False)
        self.provider = httpx.AsyncClient(base_url=provider_url, timeout=10, verify=False)

    async def aclose(self) -> None:
        await self.http.aclose()
        await self.provider.aclose()

    async def submit(self, model: str, headers: dict[str, str] | None = None, **body: Any) -> str:
        """Submit a job and return its id."""
        answer = await self.post(model, headers, **body)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()["id"]  # type: ignore[no-any-return]

    async def post(self, model: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        message = {"role": "user", "content": "Why is the sky blue?"}
        whole = {"model": model, "messages": [message]} | body
        return await self.http.post("/v1/jobs", json=whole, headers=headers)

    async def job(self, job_id: str, wait: int = 0) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/jobs/{job_id}", params={"wait": wait})
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def is_ready(self) -> bool:
        """Whether the API would have a load balancer send it requests."""
        return (await self.http.get("/readyz")).status_code == 200

    async def ended(self, job_id: str) -> dict[str, Any]:
        """The job after its ending."""
        job = await self.job(job_id, wait=60)
        assert job["status"] in ("completed", "failed", "cancelled"), job
        return job

    async def events(
        self, job_id: str, after: str | None = None
    ) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
        """One connection's events with their ids, until it ends."""
        headers = {"Last-Event-ID": after} if after else {}
        path = f"/v1/jobs/{job_id}/events"
        async with self.http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code in (200, 204), answer.status_code
            decoder = Decoder()
            async for data in answer.aiter_bytes():
                for event in decoder.feed(data):
                    yield event.id or None, orjson.loads(event.data)

    async def follow(self, job_id: str, after: str | None = None, most: int | None = None) -> Seen:
        """Follow on one connection to its end, or until `most` events were seen."""
        seen = Seen()
        async for event in self.events(job_id, after):
            seen.events.append(event)
            seen.arrived.append(time.monotonic())
            if len(seen.events) == most:
                break
        return seen

    async def until(self, job_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event that is as wanted."""
        async for _, event in self.events(job_id):
            if wanted(event):
                return event
        raise AssertionError("the stream ended without that event")

    async def until_delta_of(self, job_id: str, attempt: int) -> None:
        """Wait until the model has said something in this attempt."""
        newest = 0
        async for _, event in self.events(job_id):
            newest = event.get("attempt", newest)
            if newest == attempt and event["type"] == "delta":
                return
        raise AssertionError(f"the stream ended without a delta of attempt {attempt}")

    async def stats(self) -> dict[str, Any]:
        """What the provider has seen."""
        return (await self.provider.get("/stats")).json()  # type: ignore[no-any-return]

    async def open_gate(self, name: str) -> None:
        """Let the provider's `wait` scenarios of this gate go on."""
        (await self.provider.post(f"/gates/{name}")).raise_for_status()
