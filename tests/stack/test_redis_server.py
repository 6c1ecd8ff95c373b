"""The embedded Redis: private, durable, gone with its parent."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tokentail.shared.errors import ConfigError
from tokentail.stack.redis_server import RedisServer

NewServer = Callable[..., RedisServer]


def connect(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_a_started_server_answers_with_the_configuration_that_jobs_need(new_redis_server: NewServer) -> None:
    with connect(new_redis_server()) as client:
        config = client.config_get("*")
    assert config["maxmemory-policy"] == "noeviction"
    assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")
    assert config["bind"] == "127.0.0.1"


def test_data_survives_a_stop_and_a_start_on_the_same_directory(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    with connect(server) as client:
        client.set("job", "kept")
    url = server.url

    server.stop()
    server.start()

    assert server.url == url
    with connect(server) as client:
        assert client.get("job") == "kept"


def test_data_survives_a_kill(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    with connect(server) as client:
        client.set("job", "kept")

    server.kill()
    server.start()

    with connect(server) as client:
        assert client.get("job") == "kept"


def test_without_a_port_only_its_owner_can_reach_it(new_redis_server: NewServer, tmp_path: Path) -> None:
    server = new_redis_server(tmp_path / "data", port=None)

    assert server.url.startswith("unix://")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    with connect(server) as client:
        assert client.config_get("port") == {"port": "0"}


def test_a_directory_with_a_long_path_works_too(new_redis_server: NewServer, tmp_path: Path) -> None:
    server = new_redis_server(tmp_path / ("deep" * 30), port=None)

    with connect(server) as client:
        assert client.ping()


def test_start_and_stop_may_be_repeated(tmp_path: Path, new_redis_server: NewServer) -> None:
    RedisServer(tmp_path / "never-started").stop()
    server = new_redis_server()
    pid = server.pid

    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()
    server.kill()


def test_a_second_server_on_the_same_directory_is_refused(new_redis_server: NewServer) -> None:
    first = new_redis_server()

    with pytest.raises(ConfigError, match="in use by another"):
        new_redis_server(first.directory)

    first.stop()
    assert new_redis_server(first.directory).running


def test_a_server_that_ends_at_start_is_reported_with_its_own_words(new_redis_server: NewServer) -> None:
    taken = new_redis_server().url.rpartition(":")[2].removesuffix("/0")

    with pytest.raises(ConfigError, match=r"Redis ended while starting: .*redis\.log"):
        new_redis_server(port=int(taken))


def fake_redis(path: Path, version: str) -> Path:
    path.write_text(
        f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=libc bits=64 build=0'\n"
    )
    path.chmod(0o700)
    return path


def test_a_too_old_server_is_refused_with_its_version(tmp_path: Path) -> None:
    old = fake_redis(tmp_path / "redis-server", "5.0.14")

    with pytest.raises(ConfigError, match=r"is Redis 5\.0\.14, which is too old: 6\.2 or later"):
        RedisServer(tmp_path / "data", binary=old).start()
    assert not (tmp_path / "data").exists()


def test_a_missing_server_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere/redis-server can't be run .*No such file"):
        RedisServer(tmp_path / "data", binary=tmp_path / "nowhere/redis-server").start()


def test_a_too_old_server_on_the_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokentail.stack.redis_binary import find_redis  # noqa: PLC0415

    fake_redis(tmp_path / "redis-server", "5.0.14")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_redis().path != tmp_path / "redis-server"


def test_data_of_a_newer_redis_is_never_hidden_by_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    old = fake_redis(tmp_path / "redis-server", "6.2.14")

    with pytest.raises(ConfigError, match="was written by Redis 7 or later"):
        RedisServer(tmp_path, binary=old).start()
