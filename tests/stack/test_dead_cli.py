"""`tokentail dead`: what operators do with jobs that kept killing their workers."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess

import pytest
from given import RESULT, TENANT, chat, claimed, failed, lapse
from processes import TOKENTAIL

from tokentail.shared import queue as queue_module
from tokentail.shared import redis as store
from tokentail.shared.cursor import Cursor
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings


def dead(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [TOKENTAIL, "dead", *words, "--redis-url", url]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


async def _kill_two_workers(url: str) -> str:
    async with store.client(url) as redis:
        queue = Queue(redis, Settings(redis_url=url))
        record, _ = await queue.enqueue(TENANT, chat("Kill me"), None)
        for worker in ("host-a:1:x", "host-b:2:y"):
            await queue.claim(worker, 1)
            await lapse(redis, record.id)
            await queue.claim("who-looks", 0)
        claim = await claimed(queue)
        cursor = Cursor(claim.fence, 1)
        await queue.finish(record.id, claim.fence, cursor, failed("worker_lost"), RESULT)
        return record.id


@pytest.fixture
def letter(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the one dead letter that there is."""
    monkeypatch.setattr(queue_module, "VERDICT_SECONDS", 0.0)
    return asyncio.run(_kill_two_workers(redis_url))


def test_the_list_names_job_and_workers(redis_url: str, letter: str) -> None:
    done = dead(redis_url, "list")
    assert done.returncode == 0, done.stderr
    assert letter in done.stdout
    assert "host-a:1:x host-b:2:y" in done.stdout


def test_an_empty_list_says_so(redis_url: str) -> None:
    done = dead(redis_url, "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no dead letters" in done.stderr


def test_the_list_is_json_for_programs_and_holds_no_prompt(redis_url: str, letter: str) -> None:
    (line,) = dead(redis_url, "list", "--json").stdout.splitlines()
    summary = json.loads(line)
    assert (summary["id"], summary["crashes"], summary["model"]) == (letter, 2, "demo")
    assert "Kill me" not in line


def test_show_prints_the_request(redis_url: str, letter: str) -> None:
    shown = json.loads(dead(redis_url, "show", letter).stdout)
    assert shown["request"]["call"]["messages"][0]["content"] == "Kill me"
    assert shown["lost_workers"] == ["host-a:1:x", "host-b:2:y"]


def test_a_replay_names_the_new_job_and_empties_the_list(redis_url: str, letter: str) -> None:
    done = dead(redis_url, "replay", letter)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{letter} runs again as job_")
    assert dead(redis_url, "list").stdout == ""


def test_all_of_them_are_purged_at_once(redis_url: str, letter: str) -> None:
    done = dead(redis_url, "purge", "--all", "--yes")
    assert (done.returncode, done.stdout) == (0, f"{letter} is deleted.\n")
    assert dead(redis_url, "list").stdout == ""


@pytest.mark.parametrize("deed", ["replay", "purge"])
@pytest.mark.parametrize(
    ("words", "said"), [([], "name jobs, or say --all"), (["--all", "job_x"], "not both")]
)
def test_which_jobs_are_meant_has_to_be_said(
    redis_url: str, letter: str, deed: str, words: list[str], said: str
) -> None:
    done = dead(redis_url, deed, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert letter in dead(redis_url, "list").stdout


def test_a_program_does_not_purge_everything_by_accident(redis_url: str, letter: str) -> None:
    # Given nobody who could be asked
    done = dead(redis_url, "purge", "--all")
    # Then nothing is deleted, and how to do so is told
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    assert letter in dead(redis_url, "list").stdout


@pytest.mark.parametrize("deed", ["show", "replay", "purge"])
def test_an_unknown_job_is_named_in_a_sentence(redis_url: str, deed: str) -> None:
    done = dead(redis_url, deed, "job_unknown")
    assert done.returncode == 1
    assert done.stderr == "tokentail: There is no dead letter 'job_unknown'.\n"


@pytest.mark.parametrize(("answer", "is_purged"), [("y", True), ("n", False)])
def test_a_person_is_asked_before_everything_is_purged(
    redis_url: str, letter: str, answer: str, is_purged: bool
) -> None:
    # Given a person at a terminal
    person, terminal = pty.openpty()
    os.write(person, f"{answer}\n".encode())
    # When all are to be purged; Then how many is said, and the answer counts
    command = [TOKENTAIL, "dead", "purge", "--all", "--redis-url", redis_url]
    done = subprocess.run(command, stdin=terminal, capture_output=True, text=True, timeout=60, check=False)
    os.close(person)
    os.close(terminal)
    assert "one dead letter" in done.stderr
    assert done.returncode == (0 if is_purged else 1)
    assert (letter in dead(redis_url, "list").stdout) is not is_purged


@pytest.mark.parametrize("deed", [["replay", "--all"], ["purge", "--all", "--yes"]])
def test_where_there_are_none_all_of_them_is_no_error(redis_url: str, deed: list[str]) -> None:
    done = dead(redis_url, *deed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "There are no dead letters.\n")


@pytest.mark.parametrize("deed", ["list", "show"])
def test_looking_has_no_options_of_jobs_that_begin(deed: str) -> None:
    answer = subprocess.run([TOKENTAIL, "dead", deed, "--help"], capture_output=True, text=True, check=True)
    assert "--redis-url" in answer.stdout
    for option in ("--deadline-seconds", "--queue-seconds", "--max-queue", "--wait-replicas"):
        assert option not in answer.stdout


def test_a_variable_that_is_no_setting_is_noticed_here(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENTAIL_WAIT_REPLICA", "2")
    done = dead(redis_url, "list", "--json")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("TOKENTAIL_WAIT_REPLICA is no setting")


def test_an_option_of_the_url_that_makes_no_sense_is_a_sentence() -> None:
    done = dead("redis://:hunter2@127.0.0.1:1/0?foo=1", "list")
    assert done.returncode == 2
    assert done.stderr.startswith("tokentail: TOKENTAIL_REDIS_URL: has an option called foo")
    assert "hunter2" not in done.stderr


def test_without_redis_it_is_a_sentence_too() -> None:
    done = dead("redis://127.0.0.1:1/0", "list")
    assert done.returncode == 1
    assert "Redis does not answer" in done.stderr
