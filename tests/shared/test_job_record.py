"""Job ids, records and the job object."""

from __future__ import annotations

import time
from typing import Any

import pytest
from given import RESULT, completed, failed
from hypothesis import given
from hypothesis import strategies as st

from tokentail.shared import events, job
from tokentail.shared.cursor import Cursor
from tokentail.shared.job import Record, Status

CREATED = 1_763_881_234_567
FIELDS = {
    b"tenant": b"default",
    b"model": b"demo",
    b"status": b"queued",
    b"metadata": b'{"a":"\xc3\xa9"}',
    b"created": b"%d" % CREATED,
    b"deadline": b"%d" % (CREATED + 1000),
    b"attempt": b"0",
    b"tries": b"0",
    b"crashes": b"0",
    b"handoffs": b"0",
    b"fence": b"0",
    b"reason": b"start",
}
JOB = job.new_id()


def record(**fields: bytes) -> Record:
    return Record.parse(JOB, {**FIELDS, **{name.encode(): value for name, value in fields.items()}})


def seen(record: Record, **more: Any) -> dict[str, Any]:
    return job.job_object(record, result=more.get("result"), cursor=more.get("cursor"))


def test_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given ids made one after the other, a millisecond apart
    times = [0, 1, 31, 32, CREATED - 1, CREATED, CREATED + 1, CREATED + 10**9, 2**48 - 1]
    made = []
    for ms in times:
        monkeypatch.setattr(time, "time_ns", lambda ms=ms: ms * 1_000_000)
        made.append(job.new_id())
    # Then they are in that order as text, which is how Redis sorts them
    assert made == sorted(made, key=str.encode)
    assert all(map(job.is_id, made))


def test_ids_of_the_same_moment_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: CREATED * 1_000_000)
    assert len({job.new_id() for _ in range(10_000)}) == 10_000


@given(st.text(max_size=40) | st.from_regex(r"job_[0-9a-zA-Z]{25,27}", fullmatch=True))
def test_only_what_we_could_have_made_is_an_id(text: str) -> None:
    alphabet = set("0123456789abcdefghjkmnpqrstvwxyz")
    assert job.is_id(text) == (text[:4] == "job_" and len(text) == 30 and set(text[4:]) <= alphabet)


@pytest.mark.parametrize(
    "text", ["", "job_", JOB[:-1], JOB + "0", JOB.upper(), "JOB_" + JOB[4:], JOB[:-1] + "i", JOB[:-1] + "\n"]
)
def test_what_nearly_looks_like_an_id_is_none(text: str) -> None:
    assert not job.is_id(text)


def test_a_fresh_record_has_nothing_that_comes_later() -> None:
    fresh = record()
    assert fresh.metadata == {"a": "é"}
    assert (fresh.status, fresh.created, fresh.started, fresh.ended) == (Status.QUEUED, CREATED, 0, 0)
    assert (fresh.ending, fresh.cursor, fresh.result) == (None, None, None)
    assert (fresh.cancel, fresh.unlogged, fresh.has_ended) == (False, False, False)


def test_an_ended_record_has_its_ending_as_the_log_holds_it() -> None:
    ending = completed()
    ended = record(
        status=b"completed",
        fence=b"5",
        cursor=b"5-3",
        ending=events.encode(ending),
        result=b'{"content":"Hi"}',
        ended=b"%d" % (CREATED + 9),
    )
    assert ended.has_ended
    assert (ended.ending, ended.cursor, ended.result) == (ending, Cursor(5, 3), {"content": "Hi"})


@pytest.mark.parametrize("status", list(Status))
def test_a_record_has_ended_exactly_in_the_states_that_are_endings(status: Status) -> None:
    ended = record(status=status.encode()).has_ended
    assert ended == (status in ("completed", "failed", "cancelled"))
    # Then no arrow leads away from there, but for an ending that its log has not confirmed
    if ended:
        assert set(job.ARROWS.get(status, {})) <= ({"finish"} if status != Status.COMPLETED else set())


def test_the_object_of_a_queued_job_has_every_member_of_the_protocol() -> None:
    assert seen(record()) == {
        "id": JOB,
        "object": "job",
        "status": "queued",
        "model": "demo",
        "created_at": "2025-11-23T07:00:34.567Z",
        "started_at": None,
        "ended_at": None,
        "attempt": 0,
        "cursor": None,
        "result": None,
        "usage": None,
        "cost_usd": None,
        "timings": {"queued_ms": None, "first_delta_ms": None, "total_ms": None},
        "error": None,
        "metadata": {"a": "é"},
        "links": {
            "self": f"/v1/jobs/{JOB}",
            "events": f"/v1/jobs/{JOB}/events",
            "cancel": f"/v1/jobs/{JOB}/cancel",
        },
    }


def test_the_object_of_a_completed_job_says_what_its_ending_says() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "source": "provider"}
    ending = completed(usage=usage, cost_usd=0.5)
    there = seen(
        record(status=b"completed", attempt=b"1", ending=events.encode(ending)),
        result=RESULT,
        cursor=Cursor(5, 3),
    )
    assert (there["usage"], there["cost_usd"], there["timings"]) == (usage, 0.5, ending["timings"])
    assert (there["result"], there["cursor"], there["error"]) == (RESULT, "5-3", None)


def test_the_object_of_a_failed_job_says_why_and_how_long_it_took() -> None:
    there = seen(
        record(
            status=b"failed",
            started=b"%d" % (CREATED + 20),
            ended=b"%d" % (CREATED + 500),
            ending=events.encode(failed("idle_timeout")),
        )
    )
    assert there["error"]["code"] == "idle_timeout"
    assert there["timings"] == {"queued_ms": 20, "first_delta_ms": None, "total_ms": 500}
    assert there["ended_at"] == "2025-11-23T07:00:35.067Z"


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1000, "1970-01-01T00:00:01.000Z"),
        (951782400007, "2000-02-29T00:00:00.007Z"),
        (None, None),
    ],
)
def test_times_are_utc_with_milliseconds(ms: int | None, text: str | None) -> None:
    assert job.rfc3339(ms) == text
