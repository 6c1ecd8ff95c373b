"""The table of keys is what a life of a job leaves in Redis."""

from __future__ import annotations

import re

import pytest
from given import RESULT, TENANT, attempt, chat, completed
from redis.asyncio import Redis
from redis.crc import key_slot

from tokentail.shared import events, job, keys
from tokentail.shared.cursor import Cursor
from tokentail.shared.log import Logs
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings

WORKER = "host:1:abc"
LOG_TTL, RECORD_TTL = 100.0, 1000.0


def table() -> dict[str, str]:
    """Key → type, as the module's docstring says."""
    rows = re.findall(r"^\| `(tt:[^`]+)` \| (\w+) \|", keys.__doc__ or "", re.MULTILINE)
    assert len(rows) == 11
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
        }.items():
            pattern = pattern.replace(re.escape(name), form)
        if re.fullmatch(pattern, key):
            matching.append(row)
    assert len(matching) == 1, f"{key} is in {len(matching)} rows of the table"
    return matching[0]


@pytest.fixture
def queue(redis: Redis, redis_url: str) -> Queue:
    return Queue(redis, Settings(redis_url=redis_url, log_ttl_seconds=LOG_TTL, record_ttl_seconds=RECORD_TTL))


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
    assert 0 < lives["tt:{<job>}:log"] <= 50
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
        "tt:{<job>}:log": LOG_TTL,
    }.items():
        assert ttl - 30 < lives[name] <= ttl
    # And all there ever was stood in the table, with its type, and nothing else
    assert types == table()


def test_the_control_plane_is_one_slot_and_logs_spread() -> None:
    one, two = job.new_id(), job.new_id()
    plane = [
        keys.READY,
        keys.LEASES,
        keys.BELL,
        keys.WORKERS,
        keys.LAG,
        keys.control(WORKER),
        keys.record(one),
        keys.request(two),
        keys.idempotency(TENANT, "{other}"),
        keys.index(TENANT),
    ]
    assert len({key_slot(key.encode()) for key in plane}) == 1
    assert key_slot(keys.log(one).encode()) == key_slot(one.encode())


def test_an_idempotency_key_of_the_clients_choice_does_not_reach_the_keyspace() -> None:
    name = keys.idempotency(TENANT, "x" * 255 + "\n{tag}")
    assert row_of(name) == "tt:{q}:idem:<tenant>:<sha256>"
