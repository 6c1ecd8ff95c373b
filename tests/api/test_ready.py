"""Which processes a balancer should send requests to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from edge_within import edge_at
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tokentail.api.health import refusal_of
from tokentail.api.servers import Answer, Server
from tokentail.shared.errors import ConfigError, StoreUnavailable
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer

CONTROL = Server(("control",), "control:1")
ONE = Server(("log",), "one:1", "one:1")
TWO = Server(("log",), "two:1", "two:1")
GONE = StoreUnavailable("Redis does not answer.")


async def test_with_both_planes_it_is_ready(redis_url: str) -> None:
    async with edge_at(Settings(redis_url=redis_url)) as (http, _):
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_when_told_to_stop_it_is_not(redis_url: str) -> None:
    async with edge_at(Settings(redis_url=redis_url)) as (http, app):
        app.state.context.draining = True
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "This process is stopping.")


@pytest.mark.parametrize("gone", ["control", "log"])
async def test_without_a_whole_plane_it_is_not_and_says_which(
    redis_url: str, new_redis_server: Callable[..., RedisServer], gone: str
) -> None:
    # Given two planes, of which one is away
    server = new_redis_server()
    url, log_url = (server.url, redis_url) if gone == "control" else (redis_url, server.url)
    async with edge_at(Settings(redis_url=url, log_redis_url=log_url)) as (http, _):
        server.kill()
        answer = await http.get("/readyz")
    # Then it gets no requests, and tells who is missing
    assert answer.status_code == 503
    assert answer.json()["away"] == [server.url]


async def test_beside_a_redis_that_evicts_it_is_not(new_redis_server: Callable[..., RedisServer]) -> None:
    server = new_redis_server()
    async with edge_at(Settings(redis_url=server.url)) as (http, _), Redis.from_url(server.url) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert "allkeys-lru" in answer.json()["status"]


def test_a_node_of_a_cluster_that_is_away_takes_no_process_out() -> None:
    assert refusal_of([Answer(CONTROL), Answer(ONE, error=GONE), Answer(TWO)]) is None


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(CONTROL), Answer(ONE, error=GONE), Answer(TWO, error=GONE)],
        [Answer(CONTROL, error=GONE), Answer(ONE), Answer(TWO)],
        [Answer(CONTROL, error=ResponseError("NOAUTH")), Answer(ONE)],
        [Answer(CONTROL), Answer(ONE), Answer(TWO, error=ConfigError("It evicts keys."))],
        [Answer(CONTROL)],
    ],
    ids=["all nodes away", "queue away", "queue refuses", "a node evicts", "no node holds logs"],
)
def test_what_no_other_node_makes_up_for_does(answers: list[Answer[None]]) -> None:
    assert refusal_of(answers)
