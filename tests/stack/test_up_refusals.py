"""`tokentail up` with something in its way: one sentence, an exit code, nothing started."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest
from processes import PATIENCE_SECONDS, TOKENTAIL

from tokentail.stack.redis_server import RedisServer


def refused(directory: Path, *options: str) -> str:
    """What `tokentail up` says, on one line, when it refuses to start."""
    answer = subprocess.run(
        [TOKENTAIL, "up", "--data", str(directory / "data"), *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert answer.returncode == 2, answer
    assert answer.stdout == ""
    assert not (directory / "data/logs").exists()
    sentence = re.fullmatch(r"tokentail: (.*)\n", answer.stderr)
    assert sentence, answer.stderr
    return sentence[1]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        said = refused(tmp_path, "--port", str(port))

    assert said == f"Port {port} on 127.0.0.1 is taken; choose another with --port."


def test_a_data_directory_in_use_is_named(tmp_path: Path) -> None:
    running = RedisServer(tmp_path / "data/redis")
    running.lock()

    said = refused(tmp_path, "--port", "0")

    assert said == (
        f"{tmp_path}/data/redis is in use by another running tokentail stack; "
        "stop that one, or choose another directory with --data."
    )
    running.stop()


def test_a_data_directory_that_can_be_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    said = refused(tmp_path, "--port", "0")

    assert said == f"{tmp_path}/data/redis can't be used for data: Not a directory."


def test_a_too_old_redis_is_named_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=00000000:0 malloc=jemalloc bits=64 build=0'\n")
    old.chmod(0o700)

    said = refused(tmp_path, "--port", "0", "--redis-server", str(old))

    assert said == f"{old} is Redis 5.0.14, which is too old: 6.2 or later is needed."


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "--lease-seconds", "soon")

    assert said.startswith("TOKENTAIL_LEASE_SECONDS: ")


def test_a_model_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "--models", str(tmp_path / "models.yaml"))

    assert said.startswith(f"The model list {tmp_path}/models.yaml can't be read")


@pytest.mark.parametrize("command", ["up", "api"])
def test_an_open_address_without_authentication_is_refused(command: str, tmp_path: Path) -> None:
    answer = subprocess.run(
        [TOKENTAIL, command, "--host", "0.0.0.0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert answer.returncode == 2
    assert "loopback only, not on 0.0.0.0; set TOKENTAIL_AUTH=off" in answer.stderr
