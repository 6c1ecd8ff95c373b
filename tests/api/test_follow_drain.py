"""A follower that comes as its process is told to stop."""

from __future__ import annotations

import asyncio

import pytest
from events_endpoint import Ask
from following import Client, tails_at
from given import enqueued

from tokentail.api.drain import Drain
from tokentail.shared.job import Record, new_id
from tokentail.shared.queue import Queue


async def test_a_follower_whose_record_came_after_the_signal_is_let_go(
    ask: Ask, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that waits, and a process that is told to stop while it asks for the job's record
    job_id = (await enqueued(queue)).id
    client, get = ask(job_id), queue.get

    async def get_as_the_signal_comes(tenant: str, wanted: str) -> Record:
        record = await get(tenant, wanted)
        client.context.draining = True
        return record

    monkeypatch.setattr(queue, "get", get_as_the_signal_comes)
    # When somebody follows the job
    async with asyncio.timeout(20):
        await client.run()
    # Then the stream opens and ends cleanly, for the client to go on elsewhere
    assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]
    assert not client.sent[-1].get("more_body", False)
    assert client.body.startswith(b": connected\nretry: ")


async def test_a_follower_of_a_log_that_is_held_no_longer_is_ended_with_the_others(redis_url: str) -> None:
    # Given a client that has yet to take what it was told of a job that was deleted
    async with tails_at(redis_url) as tails:
        client = Client(tails, new_id())
        client.sink.fill()
        tails.forget(client.follower.tail)
        assert not client.follower.over.done()
        # When the process stops
        Drain(tails, 0).end_all()
        # Then its stream ends, too
        assert await client.ended() == []
