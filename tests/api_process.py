"""One `tokentail api` without workers: jobs wait, and their logs say what a test writes."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable, Sequence

import orjson
import psutil
from processes import PATIENCE_SECONDS, TOKENTAIL, Running
from redis import Redis

from tokentail.shared import events, keys
from tokentail.shared.events import Event
from tokentail.shared.log import FIELD


class Api:
    """Started with these options, and settings by their variable; `before` is a command that starts it. Call
    `close` in the end."""

    def __init__(self, redis_url: str, *options: str, before: Sequence[str] = (), **settings: str) -> None:
        self.redis_url = redis_url
        self.redis = Redis.from_url(redis_url)
        command = [*before, TOKENTAIL, "api", "--port", "0", *options]
        self.running = Running(command, env={"TOKENTAIL_REDIS_URL": redis_url, **settings})
        match = self.running.wait_for(r"api on (http://(\S+):(\d+))")
        self.url = match[1]
        self.address = (match[2], int(match[3]))

    def close(self) -> None:
        self.redis.close()
        self.running.close()

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.running.pid)

    def submit(self) -> str:
        """A new job, which nobody claims."""
        message = {"role": "user", "content": "Why is the sky blue?"}
        status, answer = self._ask("POST", "/v1/jobs", orjson.dumps({"model": "demo", "messages": [message]}))
        assert status == 202, answer
        return str(orjson.loads(answer)["id"])

    def metric(self, name: str) -> float:
        """What it tells of itself under a name."""
        _, text = self._ask("GET", "/metrics")
        found = re.findall(rf"^tokentail_api_{name}{{.*}} (\S+)$", text.decode(), re.MULTILINE)
        assert found, name
        return sum(map(float, found))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own, of which nothing is left."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def write(self, job_id: str, fence: int, seq: int, log: Iterable[Event]) -> list[str]:
        """Entries of an attempt from that number on, each by itself, as they would come from a worker.
        Returns their ids."""
        pipe = self.redis.pipeline(transaction=False)
        for number, event in enumerate(log, seq):
            pipe.xadd(keys.log(job_id), {FIELD: events.encode(event)}, id=f"{fence}-{number}")
        return [entry_id.decode() for entry_id in pipe.execute()]

    def say(self, job_id: str, seqs: range, size: int = 1) -> list[str]:
        """Deltas of that size with these numbers. Returns their ids."""
        return self.write(job_id, 1, seqs.start, [{"type": "delta", "content": "x" * size} for _ in seqs])
