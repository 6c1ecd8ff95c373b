"""A deletion leaves no log behind, also when its answer is lost half way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from given import RESULT, attempt, completed, enqueued, read, written
from redis.asyncio import Redis

from tokentail.api import jobs
from tokentail.shared.cursor import Cursor
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue


async def test_a_record_that_is_gone_leaves_no_log(
    queue: Queue, logs: Logs, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that has ended
    record = await enqueued(queue)
    (claim,) = (await queue.claim("worker", 1)).jobs
    await written(redis, record.id, claim.fence, attempt(), completed())
    await queue.finish(record.id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    # And a Redis that removes its record, but whose answer does not arrive
    real = queue.delete

    async def lost(*question: Any) -> None:
        await real(*question)
        raise StoreUnavailable("Redis does not answer.")

    monkeypatch.setattr(queue, "delete", lost)
    # When it is deleted
    context = SimpleNamespace(queue=queue, logs=logs)
    request: Any = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(context=context)))
    with pytest.raises(StoreUnavailable):
        await jobs.delete(request, record.id)
    # Then nothing is left that a repeat, which is told 404, could not remove
    assert await queue.record(record.id) is None
    assert await read(logs, record.id) == []
