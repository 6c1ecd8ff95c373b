"""One `tokentail api` process without workers: the tests write the logs."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable

import orjson
import psutil
import redis
from processes import PATIENCE_SECONDS, TOKENTAIL, Running

from tokentail.shared import events, keys
from tokentail.shared.events import Event
from tokentail.shared.log import FIELD


class Api:
    """Call `close` in the end."""

    def __init__(self, redis_url: str, **settings: str) -> None:
        env = {"TOKENTAIL_REDIS_URL": redis_url, **settings}
        self.process = Running([TOKENTAIL, "api", "--port", "0"], env=env)
        match = self.process.wait_for(r"api on http://(\S+):(\d+)")
        self.address = (match[1], int(match[2]))
        self.redis = redis.Redis.from_url(redis_url)
        self.ps = psutil.Process(self.process.pid)

    def close(self) -> None:
        self.redis.close()
        self.process.close()

    def job(self) -> str:
        """A new job, which nobody claims."""
        message = {"role": "user", "content": "Why is the sky blue?"}
        body = orjson.dumps({"model": "demo", "messages": [message]})
        status, answer = self.ask("POST", "/v1/jobs", body)
        assert status == 202, answer
        return str(orjson.loads(answer)["id"])

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_SECONDS)
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The value of one that this process tells of itself."""
        _, text = self.ask("GET", "/metrics")
        match = re.search(rf"^tokentail_api_{name}{{[^}}]*}} (\S+)$", text.decode(), re.MULTILINE)
        assert match is not None, name
        return float(match[1])

    def write(self, job_id: str, fence: int, seq: int, log: Iterable[Event]) -> None:
        """Entries of an attempt from that number on, each by itself, as they would come from a worker."""
        pipe = self.redis.pipeline(transaction=False)
        for number, event in enumerate(log, seq):
            pipe.xadd(keys.log(job_id), {FIELD: events.encode(event)}, id=f"{fence}-{number}")
        pipe.execute()
