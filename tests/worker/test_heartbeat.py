"""The heartbeat beats whatever the event loop does, and tells it in time when it can't."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import redis as plain_redis
from given import eventually, running
from keeping import ToldAttempt, be_busy, hold, kept
from processes import until
from redis.asyncio import Redis

from tokentail.shared import keys
from tokentail.shared import redis as store
from tokentail.shared.claim import Claim, Held
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.lag import LoopLag
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer
from tokentail.worker.attempt import Stop
from tokentail.worker.heartbeat import RENEWALS_PER_LEASE, Heartbeat
from tokentail.worker.leases import Leases
from tokentail.worker.standing import trusted_seconds

LEASE_SECONDS = 2.0


class ScriptedQueue:
    """Answers renewals as it is told to; used by the heartbeat's thread."""

    def __init__(self) -> None:
        #: When each renewal was asked for, what for, and with which lag.
        self.asked: list[tuple[float, list[tuple[str, int]], float]] = []
        self.answered_at = 0.0
        self.silent = False
        #: How long each answer takes.
        self.seconds = 0.0
        #: Set by a test to end a silence from the loop that waits.
        self.answers = asyncio.Event()
        self.failure: Exception | None = None

    async def renew(
        self, worker_id: str, held: list[tuple[str, int]], *, lag_seconds: float = 0.0
    ) -> list[Held]:
        asked_at = time.monotonic()
        self.asked.append((asked_at, list(held), lag_seconds))
        if self.failure is not None:
            raise self.failure
        if self.silent:
            await self.answers.wait()
        await asyncio.sleep(self.seconds)
        self.answered_at = asked_at
        return [Held.HELD] * len(held)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ScriptedQueue]:
        yield self


def scripted_leases(queue: ScriptedQueue, lease_seconds: float = LEASE_SECONDS) -> Leases:
    settings = Settings(lease_seconds=lease_seconds)
    return Leases("worker-1", queue, settings, queue.open)  # type: ignore[arg-type]


def claim(number: int = 1) -> Claim:
    return Claim(f"job_{number}", number, None, record=None, envelope=b"", now=0)  # type: ignore[arg-type]


async def renewed(queue: ScriptedQueue, times: int = 1) -> None:
    """Wait for renewals that hold something."""
    before = len(queue.asked)
    await eventually(lambda: len([held for _, held, _ in queue.asked[before:] if held]) >= times)


def heartbeats() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


# A busy loop


async def test_a_busy_event_loop_loses_no_lease(redis: Redis, redis_url: str) -> None:
    # Given a held job with a lease of a second
    settings = Settings(redis_url=redis_url, lease_seconds=1)
    queue = Queue(redis, settings)
    leases = Leases("worker-1", queue, settings)
    attempt = hold(leases, await running(queue))
    with plain_redis.Redis.from_url(redis_url) as client:
        client.ping()
        async with kept(leases):
            await eventually(lambda: leases.lag.samples > 0)
            # When Python code keeps the loop busy for three
            be_busy(3)
            # Then the lease is whole before the loop got to do anything
            seconds, micros = client.time()
            lapses = client.zscore(keys.LEASES, attempt.claim.job_id)
            assert lapses > seconds * 1000 + micros / 1000
            # And nothing else comes of it when it does
            await eventually(lambda: leases.lag.seconds > 2)
            assert attempt.stops == []


async def test_how_late_the_loop_is_goes_with_the_renewals_even_while_it_is() -> None:
    queue = ScriptedQueue()
    leases = scripted_leases(queue)
    async with kept(leases):
        await eventually(lambda: leases.lag.samples > 0)
        asked = len(queue.asked)
        # When the loop is busy until two renewals went without it
        while len(queue.asked) < asked + 2:
            be_busy(0.1)
        assert queue.asked[-1][2] > 0.1


async def test_jobs_that_come_and_go_are_renewed_while_they_are_held() -> None:
    queue = ScriptedQueue()
    leases = scripted_leases(queue, lease_seconds=0.5)
    async with kept(leases):
        await eventually(lambda: queue.asked)
        one, two = hold(leases, claim(1)), hold(leases, claim(2))
        await eventually(lambda: queue.asked[-1][1] == [("job_1", 1), ("job_2", 2)])
        leases.release(one)  # type: ignore[arg-type]
        await eventually(lambda: queue.asked[-1][1] == [("job_2", 2)])
        leases.release(two)  # type: ignore[arg-type]
        await eventually(lambda: queue.asked[-1][1] == [])
        assert one.stops == two.stops == []


async def test_a_cancel_that_comes_while_a_renewal_is_under_way_is_kept_for_the_claim_it_speaks_of() -> None:
    # Given a renewal that waits for its answer
    queue = ScriptedQueue()
    queue.silent = True
    leases = scripted_leases(queue)
    renewing = asyncio.create_task(leases.renew())
    await eventually(lambda: queue.asked)
    # When a cancel arrives before the claim it speaks of, and then the answer, which could not tell of it
    leases.obey("job_1", 1, Held.CANCEL)
    queue.answers.set()
    await renewing
    # Then it is obeyed when the claim arrives
    assert hold(leases, claim()).stops == [Stop.CANCEL]


async def test_a_worker_with_a_very_long_lease_beats_before_it_is_forgotten() -> None:
    queue = ScriptedQueue()
    heartbeat = Heartbeat(
        "w",
        600,
        open_queue=queue.open,  # type: ignore[arg-type]
        held=dict,
        hear=lambda *said: None,
        lag=LoopLag(),
    )
    # Then even a beat that is lost does not take it off the list
    assert 2 * heartbeat._interval < keys.LAG_SECONDS


# Leases that can't be renewed


def assert_told_in_time(queue: ScriptedQueue, attempt: ToldAttempt) -> None:
    """After the lease could not be relied on any more, and before it was over."""
    age = attempt.told_at - queue.answered_at
    assert attempt.stops == [Stop.LOST]
    assert trusted_seconds(LEASE_SECONDS) <= age < LEASE_SECONDS


@pytest.mark.parametrize("how", ["gives no answer", "refuses the connection"])
async def test_an_attempt_is_stopped_before_its_lease_ends_when_redis(how: str) -> None:
    # Given an attempt whose lease was renewed
    queue = ScriptedQueue()
    leases = scripted_leases(queue)
    attempt = hold(leases, claim())
    async with kept(leases):
        await renewed(queue)
        # When Redis is away
        if how == "gives no answer":
            queue.silent = True
        else:
            queue.failure = StoreUnavailable("It is away.")
        # Then it is stopped while its lease still lasts, by the worker's own clock
        await eventually(lambda: attempt.stops)
        assert_told_in_time(queue, attempt)


async def test_a_renewal_that_is_answered_late_makes_no_lease_longer() -> None:
    # Given a lease that was renewed, by an answer that took nearly as long as one may
    queue = ScriptedQueue()
    queue.seconds = 0.9 * LEASE_SECONDS / RENEWALS_PER_LEASE
    leases = scripted_leases(queue)
    attempt = hold(leases, claim())
    async with kept(leases):
        await eventually(lambda: queue.answered_at)
        # When Redis is away; Then the attempt is stopped while the lease lasts that Redis has counted
        queue.failure = StoreUnavailable("It is away.")
        await eventually(lambda: attempt.stops)
        assert_told_in_time(queue, attempt)


async def test_a_lease_that_was_given_up_is_not_renewed_when_redis_is_back() -> None:
    queue = ScriptedQueue()
    queue.silent = True
    leases = scripted_leases(queue, lease_seconds=0.5)
    lost = hold(leases, claim(1))
    async with kept(leases):
        # Given an attempt that was stopped, and hangs as it ends
        await eventually(lambda: lost.stops)
        # When Redis is back, and another job is claimed
        queue.silent = False
        kept_one = hold(leases, claim(2))
        await renewed(queue, times=2)
        # Then only that one is renewed, so that others can have the first
        assert queue.asked[-1][1] == [("job_2", 2)]
        assert (lost.stops, kept_one.stops) == ([Stop.LOST], [])


async def test_a_busy_loop_stops_what_was_given_up_as_soon_as_it_comes_to_it() -> None:
    queue = ScriptedQueue()
    queue.silent = True
    leases = scripted_leases(queue)
    attempt = hold(leases, claim())
    async with kept(leases):
        await eventually(lambda: queue.asked)
        # Given a loop that is busy for longer than the lease
        be_busy(LEASE_SECONDS + 0.5)
        assert attempt.stops == []
        # When it is free; Then it hears of it before anything new gets its turn
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert attempt.stops == [Stop.LOST]


@pytest.mark.parametrize("how", ["frozen", "gone"])
async def test_a_worker_that_is_cut_off_from_a_real_redis_stops_in_time(
    new_redis_server: Callable[..., RedisServer], how: str
) -> None:
    server = new_redis_server()
    settings = Settings(redis_url=server.url, lease_seconds=LEASE_SECONDS)
    async with store.client(server.url) as client:
        queue = Queue(client, settings)
        leases = Leases("worker-1", queue, settings)
        attempt = hold(leases, await running(queue))
    async with kept(leases):
        await eventually(lambda: leases.lag.samples > 1)
        # When Redis takes connections and never answers, or takes none
        cut_off = time.monotonic()
        if how == "frozen":
            os.kill(server.pid, signal.SIGSTOP)
        else:
            server.kill()
        # Then the attempt is stopped before the last lease that Redis can have given is over
        await eventually(lambda: attempt.stops)
        assert attempt.told_at - cut_off < LEASE_SECONDS
        if how == "frozen":
            os.kill(server.pid, signal.SIGCONT)


async def test_a_redis_that_was_away_is_asked_again_long_before_the_next_beat() -> None:
    # Given a heart that beats every 15 seconds, and a Redis that is away
    queue = ScriptedQueue()
    queue.failure = StoreUnavailable("It is away.")
    async with kept(scripted_leases(queue, lease_seconds=60)):
        # Then it is asked again and again
        await eventually(lambda: len(queue.asked) > 3)


# Start and stop


async def test_leases_that_are_no_longer_kept_are_not_renewed() -> None:
    queue = ScriptedQueue()
    queue.silent = True
    leases = scripted_leases(queue)
    before = heartbeats()
    # Given a heart that waits for an answer
    async with kept(leases):
        await eventually(lambda: queue.asked)
        assert len(heartbeats()) == len(before) + 1
    # When keeping has ended, however often that was asked for; Then its thread has
    assert heartbeats() == before


async def test_a_heartbeat_may_be_stopped_twice_or_without_having_begun() -> None:
    queue = ScriptedQueue()
    never, beating = (
        Heartbeat("w", 2, open_queue=queue.open, held=dict, hear=lambda *said: None, lag=LoopLag())  # type: ignore[arg-type]
        for _ in range(2)
    )
    never.stop()
    beating.start()
    await eventually(lambda: queue.asked)
    beating.stop()
    beating.stop()
    async with asyncio.timeout(20):
        await beating.ended()
    assert heartbeats() == []


async def test_a_heart_that_breaks_ends_the_keeping_with_what_broke_it() -> None:
    # Given a bug, for anything that Redis may do is none
    queue = ScriptedQueue()
    queue.failure = RuntimeError("unforeseen")
    leases = scripted_leases(queue)
    with pytest.raises(RuntimeError, match="unforeseen"):
        async with asyncio.timeout(20):
            await leases.keep()
    assert heartbeats() == []


def test_a_heart_goes_on_in_peace_when_the_loop_that_was_to_hear_is_closed() -> None:
    # Given an event loop that ended without having stopped its heartbeat
    queue = ScriptedQueue()

    async def begin() -> Heartbeat:
        heartbeat = Heartbeat(
            "w",
            0.5,
            open_queue=queue.open,  # type: ignore[arg-type]
            held=dict,
            hear=lambda *said: None,
            lag=LoopLag(),
        )
        heartbeat.start()
        await eventually(lambda: queue.asked)
        return heartbeat

    heartbeat = asyncio.run(begin())
    # Then it beats on until it is stopped
    asked = len(queue.asked)
    until(lambda: len(queue.asked) > asked + 1, "two more beats")
    heartbeat.stop()
    assert heartbeats() == []
