"""`tokentail api` and a Redis that is not right: refused if that can never work, else waited for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import httpx
import pytest
import redis
from processes import PATIENCE_SECONDS, TOKENTAIL, Running, until

from tokentail.stack.redis_server import RedisServer


def refused(**variables: str) -> str:
    """What `tokentail api` says when it refuses to start."""
    answer = subprocess.run(
        [TOKENTAIL, "api", "--port", "0"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (2, ""), answer
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert answer.stderr.startswith("tokentail: ")
    return answer.stderr


@pytest.fixture
def started() -> Iterator[Callable[[str], Running]]:
    """Starts APIs on a Redis."""
    running: list[Running] = []

    def start(url: str) -> Running:
        running.append(Running([TOKENTAIL, "api", "--port", "0"], env={"TOKENTAIL_REDIS_URL": url}))
        return running[-1]

    yield start
    for process in running:
        process.close()


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}/readyz", timeout=PATIENCE_SECONDS).status_code == 200


@pytest.mark.parametrize("name", ["TOKENTAIL_REDIS_URL", "TOKENTAIL_LOG_REDIS_URL"])
def test_an_option_that_makes_no_sense_is_named_with_its_variable(name: str) -> None:
    said = refused(**{name: "redis://:hunter2@127.0.0.1:1/0?socket_timeout=abc"})
    assert name in said
    assert "socket_timeout" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("name", ["TOKENTAIL_REDIS_URL", "TOKENTAIL_LOG_REDIS_URL"])
def test_a_redis_that_evicts_is_refused_on_either_plane(
    redis_url: str, new_redis_server: Callable[..., RedisServer], name: str
) -> None:
    # Given a Redis that would throw jobs away, or the text of their answers
    server = new_redis_server()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    # When an API is to use it; Then it does not start, and says why
    assert "allkeys-lru" in refused(**{"TOKENTAIL_REDIS_URL": redis_url, name: server.url})


def test_a_database_that_is_not_there_is_refused(redis_url: str) -> None:
    assert "DB index is out of range" in refused(TOKENTAIL_REDIS_URL=f"{redis_url}?db=99")


def test_a_server_that_is_named_as_a_cluster_is_refused(redis_url: str) -> None:
    cluster = redis_url.replace("redis://", "redis+cluster://")
    assert "redis://host:port" in refused(TOKENTAIL_REDIS_URL=redis_url, TOKENTAIL_LOG_REDIS_URL=cluster)


def test_a_redis_that_is_away_is_waited_for(
    new_redis_server: Callable[..., RedisServer], started: Callable[[str], Running]
) -> None:
    # Given a Redis that is not there yet
    server = new_redis_server()
    server.stop()
    # When an API is started; Then it serves, is not ready, and says once what it waits for
    api = started(server.url)
    url = api.wait_for(r"api on (\S+)")[1]
    assert not is_ready(url)
    api.wait_for("Redis is away")
    # And when Redis comes, it is ready, and says so
    server.start()
    until(lambda: is_ready(url), "it is ready")
    api.wait_for("Redis answers again")
    assert api.said.count("Redis is away") == 1


def test_a_redis_that_hangs_does_not_keep_an_api_from_starting(
    new_redis_server: Callable[..., RedisServer], started: Callable[[str], Running]
) -> None:
    server = new_redis_server()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        api = started(server.url)
        url = api.wait_for(r"api on (\S+)")[1]
        assert not is_ready(url)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    until(lambda: is_ready(url), "it is ready")
