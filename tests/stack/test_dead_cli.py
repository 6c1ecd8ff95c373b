"""`tokentail dead`: what operators do with jobs that kept killing their workers."""

from __future__ import annotations

import asyncio
import json
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
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


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
    done = dead(redis_url, "purge", "--all")
    assert (done.returncode, done.stdout) == (0, f"{letter} is deleted.\n")
    assert dead(redis_url, "list").stdout == ""


@pytest.mark.parametrize("words", [["replay"], ["purge"], ["purge", "--all", "job_x"]])
def test_which_jobs_are_meant_has_to_be_said(redis_url: str, letter: str, words: list[str]) -> None:
    done = dead(redis_url, *words)
    assert done.returncode == 2
    assert "--all" in done.stderr
    assert letter in dead(redis_url, "list").stdout


@pytest.mark.parametrize("deed", ["show", "replay", "purge"])
def test_an_unknown_job_is_named_in_a_sentence(redis_url: str, deed: str) -> None:
    done = dead(redis_url, deed, "job_unknown")
    assert done.returncode == 1
    assert done.stderr == "tokentail: There is no dead letter 'job_unknown'.\n"


def test_without_redis_it_is_a_sentence_too() -> None:
    done = dead("redis://127.0.0.1:1/0", "list")
    assert done.returncode == 1
    assert "Redis does not answer" in done.stderr
