"""The table of keys is what a life of a job leaves in Redis."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from given import RESULT, TENANT, attempt, chat, claimed, completed, failed, lapse, running
from redis.asyncio import Redis
from redis.crc import key_slot

from tokentail.shared import events, job, keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

WORKER = "host:1:abc"
SLOTS = 16_384
LOG_TTL, RECORD_TTL, DEAD_TTL = 100.0, 1000.0, 5000.0


def table() -> dict[str, str]:
    """Key → type, as the module's docstring says."""
    rows = re.findall(r"^\| `(tt:[^`]+)` \| (\w+) \|", keys.__doc__ or "", re.MULTILINE)
    assert len(rows) == 16
    return dict(rows)


def row_of(key: str) -> str:
    """The row of the table that a key belongs to."""
    matching = []
    for row in table():
        pattern = re.escape(row)
        for name, form in {
            "<job>": r"job_[0-9a-z]{26}",
            "<sha256>": "[0-9a-f]{64}",
            "<tenant>": TENANT,
            "<worker>": WORKER,
            "<partition>": "[0-9a-z]{4}",
        }.items():
            pattern = pattern.replace(re.escape(name), form)
        if re.fullmatch(pattern, key):
            matching.append(row)
    assert len(matching) == 1, f"{key} is in {len(matching)} rows of the table"
    return matching[0]


@pytest.fixture
def queue(redis: Redis, redis_url: str) -> Queue:
    settings = Settings(
        redis_url=redis_url,
        log_ttl_seconds=LOG_TTL,
        record_ttl_seconds=RECORD_TTL,
        dead_ttl_seconds=DEAD_TTL,
    )
    return Queue(redis, settings)


async def test_a_life_of_a_job_leaves_the_keys_of_the_table_and_no_others(
    queue: Queue, logs: Logs, redis: Redis
) -> None:
    types: dict[str, str] = {}

    async def look() -> dict[str, int]:
        """The keys there are now, with their lifetimes in seconds (-1: for ever)."""
        lives = {}
        for raw in await redis.keys("*"):
            row = row_of(raw.decode())
            types[row] = (await redis.type(raw)).decode()
            lives[row.replace("tt:{q}:", "")] = await redis.ttl(raw)
        return lives

    # Given a job that is submitted: nothing of it expires while it waits
    record, _ = await queue.enqueue(TENANT, chat(), "key")
    assert await look() == {
        "ready": -1,
        "bell": -1,
        "job:<job>": -1,
        "request:<job>": -1,
        "idem:<tenant>:<sha256>": -1,
        "index:<tenant>": -1,
    }
    # When a worker takes it: the job moves from `ready` to `leases`
    await queue.renew(WORKER, [])
    (claim,) = (await queue.claim(WORKER, 1)).jobs
    await logs.append(record.id, Cursor(claim.fence, 0), events.encode(attempt()), ttl_seconds=50)
    lives = await look()
    assert "ready" not in lives
    assert (lives["leases"], lives["workers"], lives["job:<job>"], lives["request:<job>"]) == (-1, -1, -1, -1)
    assert 0 < lives["lag"] <= keys.LAG_SECONDS
    assert 0 < lives["tt:{<partition>}:log:<job>"] <= 50
    # And somebody asks to cancel it
    await queue.cancel(TENANT, record.id)
    assert 0 < (await look())["control:<worker>"] <= keys.CONTROL_SECONDS
    # And it ends all the same
    cursor = Cursor(claim.fence, 1)
    await logs.append(record.id, cursor, events.encode(completed()), ttl_seconds=LOG_TTL)
    await queue.finish(record.id, claim.fence, cursor, completed(), RESULT)
    # Then record and key live on together, request and log a shorter time, and the lease is gone
    lives = await look()
    assert "leases" not in lives
    for name, ttl in {
        "job:<job>": RECORD_TTL,
        "idem:<tenant>:<sha256>": RECORD_TTL,
        "request:<job>": LOG_TTL,
        "tt:{<partition>}:log:<job>": LOG_TTL,
    }.items():
        assert ttl - 30 < lives[name] <= ttl
    # And another job crashes once, is run alone, crashes again, and ends as a dead letter
    other = (await running(queue, WORKER)).job_id
    await lapse(redis, other)
    await queue.claim(WORKER, 0)
    assert (await look())["suspects"] == -1
    await queue.claim(WORKER, 1)
    lives = await look()
    assert 0 < lives["alone:<worker>"] <= keys.MEMORY_SECONDS
    assert 0 < lives["claimed:<worker>"] <= keys.MEMORY_SECONDS
    await lapse(redis, other)
    claim = await claimed(queue, WORKER)
    await queue.finish(other, claim.fence, Cursor(claim.fence, 1), failed(), RESULT)
    assert (await look())["dead"] == -1
    assert DEAD_TTL - 30 < await redis.ttl(keys.request(other)) <= DEAD_TTL
    # And all there ever was stood in the table, with its type, and nothing else
    assert types == table()


def test_the_control_plane_is_one_slot() -> None:
    one, two = job.new_id(), job.new_id()
    plane = [
        keys.READY,
        keys.SUSPECTS,
        keys.LEASES,
        keys.DEAD,
        keys.BELL,
        keys.PACE,
        keys.claimed(WORKER),
        keys.alone(WORKER),
        keys.WORKERS,
        keys.LAG,
        keys.control(WORKER),
        keys.record(one),
        keys.request(two),
        keys.idempotency(TENANT, "{other}"),
        keys.index(TENANT),
    ]
    assert len({key_slot(key.encode()) for key in plane}) == 1


@pytest.mark.parametrize("nodes", [2, 3, 4, 6, 8, 12, 24])
def test_partitions_deal_out_evenly_to_the_nodes_of_a_cluster(nodes: int) -> None:
    # Given a cluster whose nodes hold equal parts of the slots, give or take a few
    held = Counter(slot_of(tag) * nodes // SLOTS for tag in keys.LOG_TAGS)
    # Then each holds as many partitions as any other
    assert held == dict.fromkeys(range(nodes), len(keys.LOG_TAGS) // nodes)


def test_no_partition_is_near_the_border_between_two_nodes() -> None:
    part = SLOTS / len(keys.LOG_TAGS)
    for number, tag in enumerate(keys.LOG_TAGS):
        assert abs(slot_of(tag) - (number + 0.5) * part) < part / 8


def test_logs_deal_out_evenly_to_the_partitions() -> None:
    held = Counter(slot_of_key(keys.log(job.new_id())) for _ in range(24_000))
    assert held.keys() == {slot_of(tag) for tag in keys.LOG_TAGS}
    # Of 1,000 expected, 200 more or less are six standard deviations.
    assert 800 < min(held.values()) <= max(held.values()) < 1200


def test_where_a_log_is_never_changes() -> None:
    # Given a log that an older version has written; then this one finds it
    assert keys.log("job_01kaq4xw3n7t2m9vzc5r8d6efg") == "tt:{12bi}:log:job_01kaq4xw3n7t2m9vzc5r8d6efg"


def slot_of(tag: str) -> int:
    return slot_of_key("{" + tag + "}")


def slot_of_key(key: str) -> int:
    return int(key_slot(key.encode()))


def test_an_idempotency_key_of_the_clients_choice_does_not_reach_the_keyspace() -> None:
    name = keys.idempotency(TENANT, "x" * 255 + "\n{tag}")
    assert row_of(name) == "tt:{q}:idem:<tenant>:<sha256>"
