"""What holds between a job's record, its log, and what `GET` shows (protocol, section 2)."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from chaos.history import ABSENT, ENDLESS, History, Job
from chaos.rules.followers import folded
from chaos.rules.logs import cursor_of
from tokentail.shared.events import ENDINGS


def everything_accepted_ends(_: History, job: Job) -> Iterator[str]:
    """A job that was stored reaches an ending, whatever its POST was answered."""
    if not job.exists:
        return
    status = job.record["status"]
    if status not in ENDINGS:
        yield f"it is still {status} (attempt {job.record.get('attempt')})"
    elif not job.log or job.log[-1].event["type"] not in ENDINGS:
        yield f"its record says {status}, its log has no ending"


def record_and_log_agree(_: History, job: Job) -> Iterator[str]:
    """The record holds the log's ending, and is not behind its attempts."""
    if not job.exists or not job.log:
        return
    last, record = job.log[-1], job.record
    if last.event["type"] in ENDINGS:
        if record["status"] != last.event["type"]:
            yield f"its record says {record['status']}, its log {last.event['type']}"
        if record.get("cursor") != last.id:
            yield f"its record ends at {record.get('cursor')}, its log at {last.id}"
        if orjson.loads(record.get("ending", "null")) != last.event:
            yield "its record holds another ending than its log"
        if "unlogged" in record:
            yield "its record still waits for its log to be told the ending"
    if int(record["fence"]) < cursor_of(last).fence:
        yield f"its record's fence {record['fence']} is below its log's {cursor_of(last).fence}"
    if (newest := folded(job.log).attempt) > int(record["attempt"]):
        yield f"its log has attempt {newest}, its record only {record['attempt']}"


def result_is_the_fold(_: History, job: Job) -> Iterator[str]:
    """The stored result is what the last attempt's entries come to."""
    if job.exists and job.record["status"] in ENDINGS:
        stored = orjson.loads(job.record.get("result", "null"))
        if stored != folded(job.log).result():
            yield "its record's result is not what its log comes to"


def job_object_is_the_record(_: History, job: Job) -> Iterator[str]:
    """`GET` shows what is stored."""
    if not job.exists:
        if job.shown is not None:
            yield "it is shown although it has no record"
        return
    if job.shown is None:
        yield "it has a record and is not shown"
        return
    shown, record = job.shown, job.record
    stored = {
        "status": record["status"],
        "attempt": int(record["attempt"]),
        "cursor": record.get("cursor"),
        "result": orjson.loads(record.get("result", "null")),
        "error": orjson.loads(record.get("ending", "{}")).get("error"),
    }
    for name, value in stored.items():
        if shown[name] != value:
            yield f"it is shown with another {name} than its record's"


def reads_are_true_to_their_cursor(_: History, job: Job) -> Iterator[str]:
    """A job object read on the way holds what the log comes to up to its `cursor`."""
    if not job.exists:
        return
    places = {entry.id: index for index, entry in enumerate(job.log)}
    for shown in job.reads:
        if (cursor := shown["cursor"]) is None:
            if shown["result"] is not None and any(shown["result"].values()):
                yield "it was read with a result that stands for no cursor"
        elif cursor not in places:
            yield f"it was read with the cursor {cursor}, which its log does not hold"
        elif shown["result"] != folded(job.log[: places[cursor] + 1]).result():
            yield f"it was read with another result than its log comes to at {cursor}"


def what_has_ended_expires(_: History, job: Job) -> Iterator[str]:
    """Ended jobs go by themselves, those on their way never; a log without a record goes too."""
    if not job.exists:
        if job.log_ttl == ENDLESS:
            yield "it was deleted and its log stays for ever"
        if job.request_ttl != ABSENT:
            yield "it was deleted and its request is still there"
        return
    has_ended = job.record["status"] in ENDINGS
    for what, ttl in (("record", job.record_ttl), ("request", job.request_ttl)):
        if has_ended and ttl == ENDLESS:
            yield f"it has ended and its {what} stays for ever"
        elif not has_ended and ttl != ENDLESS:
            yield f"it is {job.record['status']} and its {what} has a lifetime"
    if has_ended and job.log_ttl == ENDLESS:
        yield "it has ended and its log stays for ever"
