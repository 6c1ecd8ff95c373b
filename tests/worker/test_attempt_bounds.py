"""What an attempt may take: of its worker's memory, of its log, of a Redis that is full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from attempting import shop
from given import eventually
from scripted import FINISH, types

from tokentail.shared.job import Status
from tokentail.stack.redis_server import RedisServer
from tokentail.worker import limits as limits_module

Servers = Callable[..., RedisServer]

for_ever = asyncio.Event


async def test_an_answer_that_is_longer_than_a_log_may_be_fails(redis_url: str) -> None:
    async with shop(redis_url, [*["word " * 20] * 100, FINISH], max_log_bytes=2048) as at:
        a = await at.claimed()
        await a.run()
        # Then the job says why, and what was said until then stands in log and result
        log = await at.log(a)
        ending = log[-1][1]
        assert ending["error"]["code"] == "output_too_long"
        assert 2 < len(log) < 30
        record = await at.record(a)
        assert record.status == Status.FAILED
        assert record.result is not None
        assert record.result["content"] == "word " * 20 * (len(log) - 2)
        # And the provider's connection is closed
        assert at.models.generations[0].closed


async def test_what_earlier_attempts_wrote_counts_too(redis_url: str) -> None:
    # Given a job whose first attempt filled most of its log
    first, more = ["word " * 60] * 10, for_ever()
    async with shop(redis_url, [*first, more], ["word " * 60, FINISH], max_log_bytes=3500) as at:
        a = await at.claimed()
        at.start(a)
        await at.until_said(a, 10)
        await at.queue.hand_back(a.claim.job_id, a.claim.fence, "handoff")
        # When another goes on
        (claim,) = (await at.queue.claim("worker-2", 1)).jobs
        again = at.attempt(claim)
        await again.run()
        # Then there is no room for its first word
        ending = (await at.log(again))[-1][1]
        assert ending["error"]["code"] == "output_too_long"


async def test_a_model_is_asked_no_further_while_the_worker_holds_enough_unsent(
    new_redis_server: Servers,
) -> None:
    # Given a worker that may hold a kilobyte, and whose Redis goes away in mid-answer
    server = new_redis_server()
    go_on = asyncio.Event()
    script = ["Hi", go_on, *["word " * 20] * 200, FINISH]
    async with shop(server.url, script, unsent_limit_bytes=1024, idle_seconds=0.2) as at:
        a = await at.claimed()
        run = at.start(a)
        await at.until_said(a, 1)
        server.stop()
        go_on.set()
        # Then it takes in no more than that, and one delta
        await eventually(lambda: at.desk.appender.unsent_bytes >= 1024)
        held = at.desk.appender.unsent_bytes
        assert held < 1024 + 200
        # And the model, which is not asked, is not taken for silent however long that lasts
        await asyncio.wait([run], timeout=2 * (at.settings.idle_seconds + limits_module.SLACK_SECONDS))
        assert not at.models.generations[0].closed
        await asyncio.to_thread(server.start)
        await run
        assert types(await at.log(a))[-1] == "completed"
        assert len(await at.log(a)) == 203


async def test_the_deadline_counts_also_while_a_worker_waits_for_room(new_redis_server: Servers) -> None:
    server = new_redis_server()
    go_on = asyncio.Event()
    script = ["Hi", go_on, *["word " * 20] * 200, FINISH]
    async with shop(server.url, script, unsent_limit_bytes=1024, deadline_seconds=1) as at:
        a = await at.claimed()
        run = at.start(a)
        await at.until_said(a, 1)
        server.stop()
        go_on.set()
        await eventually(lambda: at.models.generations[0].closed)
        await asyncio.to_thread(server.start)
        await run
        assert (await at.log(a))[-1][1]["error"]["code"] == "deadline_exceeded"


async def test_a_redis_without_memory_ends_a_running_job_with_an_error(new_redis_server: Servers) -> None:
    # Given a job in mid-answer when Redis runs out of memory
    server = new_redis_server()
    go_on = asyncio.Event()
    async with shop(server.url, ["Hi", go_on, "there", for_ever()]) as at:
        a = await at.claimed()
        run = at.start(a)
        await at.until_said(a, 1)
        await at.redis.config_set("maxmemory", 1)
        go_on.set()
        await run
        # Then it has failed, log and record agree on what was said, and the provider's connection is closed
        assert types(await at.log(a)) == ["attempt", "Hi", "failed"]
        ending = (await at.log(a))[-1][1]
        assert (ending["error"]["code"], ending["error"]["retryable"]) == ("internal", True)
        record = await at.record(a)
        assert (record.status, record.ending) == (Status.FAILED, ending)
        assert record.result is not None
        assert record.result["content"] == "Hi"
        assert at.models.generations[0].closed


async def test_a_model_that_had_finished_is_not_complete_when_its_end_found_no_memory(
    new_redis_server: Servers,
) -> None:
    server = new_redis_server()
    go_on = asyncio.Event()
    async with shop(server.url, ["Hi", go_on, "there", FINISH]) as at:
        a = await at.claimed()
        run = at.start(a)
        await at.until_said(a, 1)
        await at.redis.config_set("maxmemory", 1)
        go_on.set()
        await run
        assert types(await at.log(a)) == ["attempt", "Hi", "failed"]
        assert (await at.record(a)).status == Status.FAILED


async def test_a_job_that_is_claimed_when_there_is_no_memory_fails_too(new_redis_server: Servers) -> None:
    server = new_redis_server()
    async with shop(server.url, ["Hi", FINISH]) as at:
        a = await at.claimed()
        await at.redis.config_set("maxmemory", 1)
        await a.run()
        assert types(await at.log(a)) == ["attempt", "failed"]
