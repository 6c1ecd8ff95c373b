"""Rolling deploys of a whole installation under load, and all that is to be seen of them.

It uses what chaos uses: clients that come back with their cursor to the next API, and the observer that reads
everything there is.
"""

from __future__ import annotations

import asyncio
import signal

from given import eventually
from installation import Installation
from processes import Running
from redis.asyncio import Redis

from chaos import observer
from chaos.edge import AGAIN_SECONDS, REFUSALS, Edge
from chaos.faults import WORKER_DEPLOY
from chaos.following import Stream
from chaos.history import History, Incident, Job, Provider, Submission
from chaos.plan import Following
from chaos.scenarios import Scenario

ROLLS = 5
#: Of workers, and of APIs.
PROCESSES = 2

#: Four times what a short generation needs, for the machine is busy starting processes; less than that takes.
DRAIN_SECONDS = 2.5
#: Six tenths of a second.
SHORT = Scenario("short-lived", "counted?tokens=6&pace_ms=120")
#: Six seconds: whoever has begun one when it is told to stop hands most of them over.
LONG = Scenario("long-lived", "counted?tokens=16&pace_ms=400")
#: Whenever a process is told to stop. One worker has to have room for all while the other is being replaced.
SHORT_AT_ONCE, LONG_AT_ONCE = 10, 90

SETTINGS = {
    "TOKENTAIL_DRAIN_SECONDS": str(DRAIN_SECONDS),
    "TOKENTAIL_API_DRAIN_SECONDS": "0.5",
    "TOKENTAIL_CONCURRENCY": "120",
    # A worker that is late because the machine is busy is not to be taken for dead: it is deploys that are
    # looked at.
    "TOKENTAIL_LEASE_SECONDS": "20",
    # Followers take a connection that is silent for longer for dead.
    "TOKENTAIL_PING_SECONDS": "1",
}

#: The provider's ledger remembers 500 requests; so many are begun in four times as long.
LEDGER_SECONDS = 3.0


class Deploys:
    """An installation under load whose processes are replaced, and all that was seen of it."""

    def __init__(self, installation: Installation) -> None:
        self.history = History()
        self.exit_codes: list[int] = []
        self._installation = installation
        self._apis: list[Running] = []
        self._urls: list[str] = []
        self._workers: list[Running] = []
        self._asked: dict[str, dict[str, object]] = {}
        self._clients: list[asyncio.Task[None]] = []
        self._long: list[asyncio.Task[None]] = []

    def of(self, scenario: Scenario) -> list[Job]:
        """The jobs of this kind."""
        return [job for job in self.history.jobs.values() if job.record.get("model") == scenario.alias]

    async def run(self) -> None:
        """Start, load, roll, and read everything to its end."""
        await self._start()
        edge = Edge(self._urls, self.history.oddities)
        redis = Redis.from_url(self._installation.redis.url)
        keeping = asyncio.create_task(self._keep_ledger())
        try:
            for _ in range(ROLLS):
                for index in range(PROCESSES):
                    await self._step(edge, index)
            await asyncio.gather(*self._clients)
            keeping.cancel()
            await observer.collect(redis, edge, self.history)
            self.history.provider = await self._ledger()
        finally:
            for task in (*self._clients, keeping):
                task.cancel()
            await edge.aclose()
            await redis.aclose()

    async def _step(self, edge: Edge, index: int) -> None:
        """With a hundred generations running, replace one worker and one API."""
        self._long = [task for task in self._long if not task.done()]
        self._long += self._begin(edge, LONG, LONG_AT_ONCE - len(self._long))
        self._begin(edge, SHORT, SHORT_AT_ONCE)
        await eventually(self._all_begun)
        replacing = asyncio.gather(self._replace_worker(index), self._replace_api(index))
        # Who comes just now meets an API that is going, and a worker that must not begin it.
        self._begin(edge, SHORT, SHORT_AT_ONCE)
        await replacing

    def _all_begun(self) -> bool:
        for task in self._clients:
            if task.done():
                task.result()
        return len(self.history.jobs) == len(self._clients) and all(
            map(_has_begun, self.history.jobs.values())
        )

    def _begin(self, edge: Edge, scenario: Scenario, count: int) -> list[asyncio.Task[None]]:
        """So many clients more, each with one job."""
        begun = [asyncio.create_task(self._client(edge, scenario)) for _ in range(count)]
        self._clients += begun
        return begun

    async def _start(self) -> None:
        installation = self._installation
        starts = [asyncio.to_thread(installation.start_worker) for _ in range(PROCESSES)]
        self._workers = await asyncio.gather(*starts)
        for number in range(PROCESSES):
            self._apis.append(
                installation.api if number == 0 else await asyncio.to_thread(installation.start_api)
            )
            self._urls.append(installation.url)

    async def _client(self, edge: Edge, scenario: Scenario) -> None:
        """Submit a job and follow it to its end."""
        number = len(self.history.submissions)
        name = f"client-{number}"
        submission = Submission(name, number, scenario.alias, "restart", name)
        self.history.submissions.append(submission)
        job_id = await self._submit(edge, submission)
        job = self.history.jobs[job_id] = Job(job_id)
        await Stream(edge, job, submission, Following(after=0)).follow(f"follower of {name}", number)

    async def _submit(self, edge: Edge, submission: Submission) -> str:
        """Ask one API after the other, until there is an answer: a key makes that one job."""
        body = {
            "model": submission.model,
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "seed": submission.number,
            "metadata": {"name": submission.name},
        }
        headers = {"Idempotency-Key": submission.name}
        while True:
            api = submission.number + len(submission.answers)
            status, answer = await edge.ask("POST", "/v1/jobs", api, body=body, headers=headers)
            submission.answers.append((status, answer["id"] if status in (200, 202) else None))
            if status not in REFUSALS:
                return str(answer["id"])
            await asyncio.sleep(AGAIN_SECONDS)

    async def _replace_worker(self, index: int) -> None:
        old, began = self._workers[index], await self._now()
        old.process.send_signal(signal.SIGTERM)
        self._workers[index] = await asyncio.to_thread(self._installation.start_worker)
        self.exit_codes.append(await asyncio.to_thread(old.wait))
        deploy = Incident(WORKER_DEPLOY, f"worker {index}", began, await self._now())
        self.history.incidents.append(deploy)

    async def _replace_api(self, index: int) -> None:
        old = self._apis[index]
        old.process.send_signal(signal.SIGTERM)
        self._apis[index] = await asyncio.to_thread(self._installation.start_api)
        # Until here clients go on asking at the old address, as behind a balancer that is late.
        self._urls[index] = self._installation.url
        self.exit_codes.append(await asyncio.to_thread(old.wait))

    async def _now(self) -> int:
        async with Redis.from_url(self._installation.redis.url) as redis:
            seconds, micros = await redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def _keep_ledger(self) -> None:
        while True:
            await self._ledger()
            await asyncio.sleep(LEDGER_SECONDS)

    async def _ledger(self) -> Provider:
        """The provider's ledger with what it has forgotten since."""
        ledger = await observer.provider(self._installation.provider_url)
        self._asked |= {request["id"]: request for request in ledger.requests}
        ledger.requests = list(self._asked.values())
        return ledger


def _has_begun(job: Job) -> bool:
    return any(entry.event["type"] == "delta" for follower in job.followers for entry in follower.seen)
