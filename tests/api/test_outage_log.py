"""What an operator reads while Redis is away: when it began, where and why, and when it was over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from edge_within import edge_at
from given import eventually
from redis import exceptions as driver
from structlog.testing import capture_logs

from tokentail.api import watch as watch_module
from tokentail.api.headroom import Headroom
from tokentail.api.outages import Hindrance, Outages, reason_of
from tokentail.api.servers import Answer, Server, Servers
from tokentail.api.watch import Watch
from tokentail.shared import redis as store
from tokentail.shared import tasks
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.one_server import OneServer
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer


@asynccontextmanager
async def watch_at(settings: Settings) -> AsyncIterator[Watch]:
    async with store.client(settings.redis_url) as redis, OneServer(settings.log_url) as plane:
        yield Watch(Servers(redis, plane, settings), Headroom())


def with_password(url: str) -> str:
    return url.replace("redis://", "redis://:hunter2@")


async def test_an_outage_is_one_line_and_its_end_another(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    # Given a Redis that is gone
    server = new_redis_server()
    address = f"{server.url}".removeprefix("redis://")
    async with watch_at(Settings(redis_url=server.url)) as watch:
        server.stop()
        with capture_logs() as lines:
            # When it is looked at again and again
            for _ in range(3):
                await watch.look()
        # Then one line says which plane, where, and why
        (line,) = lines
        assert (line["event"], line["log_level"]) == ("Redis is away", "warning")
        assert line["plane"] == "control and log"
        assert address in line["address"]
        assert "Connect" in line["reason"]
        # And when it is back, one line says for how long it was not there
        server.start()
        with capture_logs() as lines:
            for _ in range(3):
                await watch.look()
        (line,) = lines
        assert line["event"] == "Redis answers again"
        assert address in line["address"]
        assert line["away_seconds"] >= 0
        # And so the next time
        server.stop()
        with capture_logs() as lines:
            await watch.look()
        assert [line["event"] for line in lines] == ["Redis is away"]


async def test_refused_requests_are_told_with_what_redis_said(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    # Given a Redis that is there, and stores nothing because its replicas are away
    server = new_redis_server()
    async with edge_at(Settings(redis_url=server.url)) as (http, _), store.client(server.url) as redis:
        await redis.config_set("min-replicas-to-write", 1)
        with capture_logs() as lines:
            # When clients submit; Then they are sent away without details, and the operator gets them once
            body = {"model": "demo", "messages": [{"role": "user", "content": "my secret prompt"}]}
            for _ in range(3):
                assert (await http.post("/v1/jobs", json=body)).status_code == 503
        (line,) = [line for line in lines if line["event"] == "requests are refused"]
        assert "NOREPLICAS" in line["cause"]
        assert "secret" not in str(lines)


async def test_the_plane_that_is_away_is_named_and_no_password(
    redis_url: str, new_redis_server: Callable[..., RedisServer]
) -> None:
    # Given a Redis of logs that is away, behind a password
    logs = new_redis_server()
    logs.stop()
    settings = Settings(redis_url=redis_url, log_redis_url=with_password(logs.url))
    async with watch_at(settings) as watch:
        with capture_logs() as lines:
            await watch.look()
    # Then only that is told
    assert [line["plane"] for line in lines] == ["log"]
    assert "hunter2" not in str(lines)


async def test_a_frozen_redis_holds_up_neither_the_look_nor_the_other_plane(
    redis_url: str, new_redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 0.01)
    logs = new_redis_server()
    async with watch_at(Settings(redis_url=redis_url, log_redis_url=logs.url)) as watch:
        os.kill(logs.pid, signal.SIGSTOP)
        with capture_logs() as lines:
            looking = asyncio.create_task(watch.run())
            try:
                await eventually(lambda: lines)
                assert (lines[0]["plane"], lines[0]["reason"]) == ("log", "no answer in time")
                os.kill(logs.pid, signal.SIGCONT)
                await eventually(lambda: len(lines) > 1)
            finally:
                os.kill(logs.pid, signal.SIGCONT)
                await tasks.end(looking)
        assert lines[1]["event"] == "Redis answers again"


def away(server: Server) -> Answer[Any]:
    return Answer(server, error=StoreUnavailable("Redis does not answer."))


def test_a_node_that_was_replaced_is_not_said_to_answer() -> None:
    one, two, whole = (
        Server(("log",), "a:1", "a:1"),
        Server(("log",), "a:2", "a:2"),
        Server(("log",), "a:1,a:2"),
    )
    outages = Outages()
    with capture_logs() as lines:
        outages.hear([away(whole)])
        outages.hear([away(one), Answer(two)])
        outages.hear([Answer(two)])
        outages.hear([Answer(two)])
    assert [(line["event"], line["address"]) for line in lines] == [
        ("Redis is away", "a:1,a:2"),
        ("Redis is away", "a:1"),
        ("Redis answers again", "a:1,a:2"),
        ("another node has taken its place", "a:1"),
    ]


def because(cause: Exception) -> StoreUnavailable:
    error = StoreUnavailable("Redis does not answer; try again in a moment.")
    error.__cause__ = cause
    return error


def test_a_reason_holds_nothing_of_a_command() -> None:
    said = "Command # 1 (EVALSHA abc 1 tt:queue my secret prompt) of pipeline caused error: MISCONF no disk"
    assert reason_of(because(driver.ResponseError(said))) == "MISCONF no disk"
    assert reason_of(StoreUnavailable("Nobody holds 3 slots.")) == "Nobody holds 3 slots"


def test_work_that_redis_refuses_is_told_once_and_when_it_goes_on() -> None:
    hindrance = Hindrance("read logs")
    with capture_logs() as lines:
        hindrance.over()
        for _ in range(3):
            hindrance.met(because(driver.ResponseError("CLUSTERDOWN The cluster is down")))
        hindrance.over()
        hindrance.over()
    assert [line["event"] for line in lines] == ["can't read logs", "can read logs again"]
    assert lines[0]["reason"] == "CLUSTERDOWN The cluster is down"


def test_a_redis_that_is_away_is_not_told_again_by_each_that_needs_it() -> None:
    hindrance = Hindrance("read logs")
    with capture_logs() as lines:
        for cause in (driver.ConnectionError("gone"), driver.TimeoutError("late"), ConnectionResetError()):
            hindrance.met(because(cause))
    assert lines == []
