"""Dockerfile and docker-compose.yml, as far as they can be proven without a container engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from processes import TOKENTAIL, Running, until

from tokentail.cli import app
from tokentail.shared.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

#: The services that run our image.
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)


def test_the_compose_file_obeys_the_official_schema() -> None:
    schema = json.loads((Path(__file__).parent / "compose_schema/compose-spec.json").read_text())

    jsonschema.Draft7Validator(schema).validate(COMPOSE)


def parse(words: Sequence[str]) -> dict[str, Any]:
    """What the command line makes of the words, without running them; fails where it would refuse them."""
    group: Any = typer.main.get_command(app)
    with group.make_context("tokentail", list(words)) as context:
        name, command, rest = group.resolve_command(context, list(words))
        with command.make_context(name, rest, parent=context) as inner:
            return {"command": name, **inner.params}


@pytest.mark.parametrize("service", OURS)
def test_each_container_starts_a_command_that_we_have(service: str) -> None:
    options = parse(SERVICES[service]["command"])

    assert options["command"] == {"demo": "demo-provider"}.get(service, service)


READY = {
    "api": r"api on http://0\.0\.0\.0:(\d+)",
    "demo": r"demo provider on http://0\.0\.0\.0:(\d+)",
    "worker": r"worker (\S+) ready",
}
PROGRAMS = {"python": sys.executable, "tokentail": TOKENTAIL}


def succeeds(command: Sequence[str], environment: dict[str, str]) -> bool:
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("service", OURS)
def test_each_container_would_start_become_healthy_and_end_when_told(service: str, redis_url: str) -> None:
    # Given the command and environment of the container, on our Redis and a free port,
    words = [re.sub(r"^80\d\d$", "0", word) for word in SERVICES[service]["command"]]
    environment = {name: value for name, value in SERVICES[service].get("environment", {}).items() if value}
    if "TOKENTAIL_REDIS_URL" in environment:
        environment["TOKENTAIL_REDIS_URL"] = redis_url
    container = Running([TOKENTAIL, *words], env=environment)
    try:
        # when it says that it serves, its health check is soon content,
        where = container.wait_for(READY[service])[1]
        _, program, *check = SERVICES[service]["healthcheck"]["test"]
        check = [re.sub(r":80\d\d/", f":{where}/", word) for word in check]
        until(lambda: succeeds([PROGRAMS[program], *check], environment), "it is healthy")

        # and SIGTERM ends it as a success.
        container.process.terminate()
        assert container.wait() == 0, container.said
    finally:
        container.close()


def test_the_health_check_of_a_worker_is_a_command_that_we_have() -> None:
    cmd, program, *words = SERVICES["worker"]["healthcheck"]["test"]

    assert (cmd, program) == ("CMD", "tokentail")
    assert parse(words)["worker"] is True


def test_every_service_has_a_health_check() -> None:
    assert all("healthcheck" in service for service in SERVICES.values())


@pytest.mark.parametrize("service", ["api", "demo"])
def test_a_health_check_asks_the_port_that_the_service_listens_on(service: str) -> None:
    port = parse(SERVICES[service]["command"])["port"]

    assert f":{port}/" in SERVICES[service]["healthcheck"]["test"][-1]


def test_the_settings_of_each_container_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in OURS:
        names = SERVICES[service].get("environment", {})
        ours = {name: value for name, value in names.items() if name.startswith(PREFIX)}
        known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} | {"TOKENTAIL_DEMO_URL"}
        assert ours.keys() <= known
        with monkeypatch.context() as environment:
            for name, value in ours.items():
                environment.setenv(name, value)
            Settings.load()


def test_the_api_can_be_reached_from_this_machine_only() -> None:
    (published,) = SERVICES["api"]["ports"]

    assert published.startswith("127.0.0.1:")
    assert not any("ports" in service for name, service in SERVICES.items() if name != "api")


def test_a_worker_has_time_to_drain_before_it_is_killed() -> None:
    drain = float(SERVICES["worker"]["environment"]["TOKENTAIL_DRAIN_SECONDS"])
    grace = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))

    assert grace >= drain + 5


def test_the_worker_can_be_scaled() -> None:
    assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()


def test_only_workers_get_keys() -> None:
    with_keys = [name for name, service in SERVICES.items() if "OPENAI_API_KEY" in str(service)]

    assert with_keys == ["worker"]


def test_redis_keeps_every_job() -> None:
    words = " ".join(SERVICES["redis"]["command"])

    assert "--appendonly yes" in words
    assert "--maxmemory-policy noeviction" in words
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def copied() -> list[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_the_dockerfile_copies_is_there_and_reaches_the_builder() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]

    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, rule) for rule in allowed), source


def test_the_image_runs_as_nobody_in_particular() -> None:
    last_stage = DOCKERFILE.split("\nFROM ")[-1]

    assert re.search(r"^USER [1-9]\d+$", last_stage, re.MULTILINE)


def test_the_image_installs_the_lock_with_its_hashes() -> None:
    installs = re.findall(r"pip install (.+)$", DOCKERFILE, re.MULTILINE)

    assert installs == [
        "--no-cache-dir --require-hashes -r requirements/runtime.txt",
        "--no-cache-dir --no-deps --no-build-isolation .",
    ]
