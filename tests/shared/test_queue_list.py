"""A tenant's jobs, newest first, page by page."""

from __future__ import annotations

from given import RESULT, TENANT, chat, claimed, completed, enqueued
from redis.asyncio import Redis

from tokentail.shared import job, keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.queue import Queue


async def walk(queue: Queue, limit: int, status: str | None = None) -> list[list[str]]:
    pages, after = [], None
    while True:
        records, after = await queue.list_jobs(TENANT, status=status, limit=limit, after=after)
        pages.append([record.id for record in records])
        if after is None:
            return pages


def flat(pages: list[list[str]]) -> list[str]:
    return [job_id for page in pages for job_id in page]


async def test_pages_hold_every_job_once_newest_first(queue: Queue) -> None:
    ids = sorted([(await enqueued(queue)).id for _ in range(7)], reverse=True)
    pages = await walk(queue, 3)
    assert flat(pages) == ids
    assert [len(page) for page in pages] == [3, 3, 1]


async def test_no_jobs_are_one_empty_page(queue: Queue) -> None:
    assert await walk(queue, 3) == [[]]


async def test_a_jobs_owner_alone_sees_it(queue: Queue) -> None:
    await queue.enqueue("somebody-else", chat(), None)
    ours = await enqueued(queue)
    assert await walk(queue, 10) == [[ours.id]]


async def test_a_status_picks_jobs(queue: Queue) -> None:
    for _ in range(3):
        await enqueued(queue)
    claim = await claimed(queue)
    await queue.finish(claim.job_id, claim.fence, Cursor(claim.fence, 1), completed(), RESULT)
    assert flat(await walk(queue, 2, "completed")) == [claim.job_id]
    assert len(flat(await walk(queue, 2, "queued"))) == 2


async def test_expired_jobs_are_passed_over(queue: Queue, redis: Redis) -> None:
    ids = sorted([(await enqueued(queue)).id for _ in range(3)])
    await redis.delete(keys.record(ids[1]))
    assert flat(await walk(queue, 1)) == [ids[2], ids[0]]


async def test_a_filter_that_matches_nothing_looks_at_a_bounded_number_and_can_be_continued(
    queue: Queue, redis: Redis
) -> None:
    # Given more entries in the index than one call looks at
    await redis.zadd(keys.index(TENANT), dict.fromkeys((job.new_id() for _ in range(1500)), 0))
    oldest = "job_" + "0" * 26
    await redis.zadd(keys.index(TENANT), {oldest: 0})
    # Then a call returns early, with the place to go on from, and the next reaches the end
    assert [len(page) for page in await walk(queue, 5, "failed")] == [0, 0]


async def test_a_place_to_go_on_from_that_no_job_has_is_harmless(queue: Queue) -> None:
    await enqueued(queue)
    for after in ("job_", "~", "\x00", "é", "0"):
        records, _ = await queue.list_jobs(TENANT, status=None, limit=5, after=after)
        assert len(records) in (0, 1)
