"""The doctor: what is well, what is not, and what to do about it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from processes import TOKENTAIL

from tokentail.shared import keys
from tokentail.shared.settings import Settings
from tokentail.stack.checkup import check_up, worker_is_alive
from tokentail.stack.finding import Finding, Verdict
from tokentail.stack.redis_server import RedisServer


@pytest.fixture
def store(redis_url: str) -> Any:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def look(url: str, **settings: Any) -> dict[str, Finding]:
    findings = check_up(Settings.load(redis_url=url, **settings), {})
    return {finding.check: finding for finding in findings}


def heartbeat(store: Any, worker: str, *, seconds_ago: float = 0) -> None:
    store.zadd(keys.WORKERS, {worker: (time.time() - seconds_ago) * 1000})


def test_a_healthy_redis_gets_ok_throughout(redis_url: str, store: Any) -> None:
    heartbeat(store, "host:1:abc")

    findings = look(redis_url)

    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}
    assert {
        *("redis version", "redis memory policy", "redis memory", "redis role", "redis persistence"),
        *("redis round trip", "redis clock", "workers", "queue", "models"),
    } == findings.keys()


def test_a_redis_that_evicts_is_broken(redis_url: str, store: Any) -> None:
    store.config_set("maxmemory-policy", "allkeys-lru")
    try:
        finding = look(redis_url)["redis memory policy"]
    finally:
        store.config_set("maxmemory-policy", "noeviction")

    assert (finding.verdict, finding.found) == (Verdict.FAIL, "allkeys-lru")


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.5, Verdict.OK), (0.85, Verdict.WARN), (0.95, Verdict.FAIL)]
)
def test_a_redis_that_fills_is_told_before_jobs_are_refused(
    redis_url: str, store: Any, share: float, verdict: Verdict
) -> None:
    store.config_set("maxmemory", int(store.info("memory")["used_memory"] / share))
    try:
        finding = look(redis_url)["redis memory"]
    finally:
        store.config_set("maxmemory", 0)

    assert finding.verdict == verdict


def test_a_redis_that_refuses_us_is_not_said_to_be_silent(redis_url: str) -> None:
    finding = look(f"{redis_url}?db=99")["redis"]

    assert (finding.verdict, finding.found) == (Verdict.FAIL, "not usable")
    assert finding.advice is not None
    assert finding.advice.endswith("says: DB index is out of range.")


def test_a_redis_that_forgets_is_a_warning(redis_url: str, store: Any) -> None:
    store.config_set("appendonly", "no")
    try:
        assert look(redis_url)["redis persistence"].verdict is Verdict.WARN
    finally:
        store.config_set("appendonly", "yes")


def test_a_redis_that_is_away_is_one_finding_without_its_password() -> None:
    finding = look("redis://:hunter2@127.0.0.1:1/0")["redis"]

    assert finding.verdict is Verdict.FAIL
    assert finding.advice is not None
    assert "127.0.0.1:1" in finding.advice
    assert "set TOKENTAIL_REDIS_URL." in finding.advice
    assert "hunter2" not in finding.advice


def test_logs_that_are_away_are_found_by_their_own_variable(redis_url: str) -> None:
    finding = look(redis_url, log_redis_url="redis://127.0.0.1:1/0")["log redis"]

    assert (finding.verdict, finding.found) == (Verdict.FAIL, "no answer")
    assert "set TOKENTAIL_LOG_REDIS_URL." in str(finding.advice)
    assert "tokentail up" not in str(finding.advice)


def test_a_variable_that_is_no_setting_is_a_finding(redis_url: str) -> None:
    findings = check_up(Settings.load(redis_url=redis_url), {"TOKENTAIL_WAIT_REPLICA": "2"})

    (finding,) = [finding for finding in findings if finding.check == "settings"]
    assert (finding.verdict, finding.found) == (Verdict.WARN, "TOKENTAIL_WAIT_REPLICA is no setting")


def test_both_planes_are_looked_at(redis_url: str, new_redis_server: Callable[..., RedisServer]) -> None:
    findings = look(redis_url, log_redis_url=new_redis_server().url)

    assert {"redis version", "log redis version", "log redis memory policy"} <= findings.keys()


def test_a_worker_counts_as_long_as_its_lease(redis_url: str, store: Any) -> None:
    heartbeat(store, "host:1:abc", seconds_ago=60)
    assert look(redis_url)["workers"].verdict is Verdict.WARN

    heartbeat(store, "host:2:abc", seconds_ago=5)
    assert look(redis_url)["workers"].found == "1 alive"


def test_a_worker_whose_event_loop_is_late_is_named(redis_url: str, store: Any) -> None:
    for worker, late in {"host:1:abc": 40, "host:2:abc": 3, "host:3:gone": 9000}.items():
        store.hset(keys.LAG, worker, late)
    heartbeat(store, "host:1:abc")
    heartbeat(store, "host:2:abc")
    heartbeat(store, "host:3:gone", seconds_ago=60)
    finding = look(redis_url)["event loops"]
    assert (finding.verdict, finding.found) == (Verdict.OK, "up to 40 ms late")

    store.hset(keys.LAG, "host:2:abc", 1200)
    finding = look(redis_url)["event loops"]
    assert (finding.verdict, finding.found) == (Verdict.WARN, "up to 1200 ms late")
    assert "host:2:abc" in str(finding.advice)


@pytest.mark.parametrize(("queued", "verdict"), [(7, Verdict.OK), (8, Verdict.WARN), (10, Verdict.FAIL)])
def test_a_queue_that_fills_is_told(redis_url: str, store: Any, queued: int, verdict: Verdict) -> None:
    store.zadd(keys.READY, {f"job_{number}": 0 for number in range(queued)})

    finding = look(redis_url, max_queue=10)["queue"]

    assert (finding.verdict, finding.found) == (verdict, f"{queued} queued, 0 running")


def test_variables_of_the_model_list_are_named_but_never_shown(redis_url: str, tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(
        "model_list:\n"
        "  - model_name: mine\n"
        "    litellm_params: {model: openai/x, api_key: os.environ/THERE, api_base: os.environ/MISSING}\n"
    )
    findings = check_up(Settings.load(redis_url=redis_url, models=models), {"THERE": "s3cret"})

    found = {finding.found: finding.verdict for finding in findings if finding.check == "model variable"}
    assert found == {"THERE is set": Verdict.OK, "MISSING is not set": Verdict.WARN}
    assert "s3cret" not in str(findings)


def test_a_broken_model_list_is_told_with_its_line(redis_url: str, tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text("model_list:\n  - model_name: mine\n")

    finding = look(redis_url, models=models)["models"]

    assert finding.verdict is Verdict.FAIL
    assert f"{models}:2" in str(finding.advice)


def test_a_container_asks_only_for_the_worker_of_its_own_host(redis_url: str, store: Any) -> None:
    settings = Settings.load(redis_url=redis_url)
    heartbeat(store, "elsewhere:1:abc")
    assert not worker_is_alive(settings, "here")

    heartbeat(store, "here:1:abc")
    assert worker_is_alive(settings, "here")
    assert not worker_is_alive(Settings.load(redis_url="redis://127.0.0.1:1/0"), "here")


def doctor(*options: str) -> tuple[int, str]:
    answer = subprocess.run([TOKENTAIL, "doctor", *options], capture_output=True, text=True, check=False)
    assert answer.stderr == ""
    return answer.returncode, answer.stdout


def test_the_command_prints_findings_for_people_and_programs(redis_url: str, store: Any) -> None:
    heartbeat(store, f"{socket.gethostname()}:1:abc")
    redis_option = f"--redis-url={redis_url}"

    code, table = doctor(redis_option)
    assert code == 0
    assert "noeviction" in table

    code, text = doctor(redis_option, "--json")
    assert code == 0
    assert json.loads(text)["ok"] is True

    assert doctor(redis_option, "--worker") == (0, "A worker of this host is alive.\n")


def test_the_command_exits_with_1_when_something_is_broken() -> None:
    code, table = doctor("--redis-url=redis://127.0.0.1:1/0")

    assert code == 1
    assert "Connection refused" in table
    assert doctor("--redis-url=redis://127.0.0.1:1/0", "--worker")[0] == 1


def test_each_finding_is_one_line_where_programs_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a finding that is longer than a terminal is wide, and no terminal
    name = f"TOKENTAIL_{'LONG_' * 20}NAME"
    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("COLUMNS", "80")
    code, said = doctor("--redis-url=redis://127.0.0.1:1/0")
    assert code == 1
    # Then each line begins with a verdict, up to the advice; and that is on one line, too
    table, *advice = said.split("\n\n")
    assert [line.split()[0] for line in table.splitlines()] == ["warn", "fail", "ok"]
    assert [text.strip().count("\n") for text in advice] == [0, 0]
    assert table.count(name) == 1


def test_a_cluster_that_is_away_is_one_finding_without_its_password(redis_url: str) -> None:
    finding = look(redis_url, log_redis_url="redis+cluster://:hunter2@127.0.0.1:1")["log redis"]

    assert finding.verdict is Verdict.FAIL
    assert "127.0.0.1:1" in str(finding.advice)
    assert "hunter2" not in str(finding.advice)
