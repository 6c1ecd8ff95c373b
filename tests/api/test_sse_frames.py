"""Events as bytes, so that no client stumbles over them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from given import delta
from hypothesis import given
from hypothesis import strategies as st

from tokentail.api import sse
from tokentail.shared import events


def lines(block: bytes) -> list[bytes]:
    assert block.endswith(b"\n\n")
    return block[:-2].split(b"\n")


@given(st.text(st.characters(codec="utf-8")))
def test_an_entry_is_one_block_with_the_workers_own_bytes(text: str) -> None:
    raw = events.encode(delta(text))
    block = sse.block(b"7-3", raw)
    assert lines(block) == [b"id: 7-3", b"event: delta", b"data: " + raw]
    # Then no kind of line end that a client may know breaks the block up
    assert len(block.splitlines()) == 4
    assert len([c for c in block.decode() if c in "\r\n"]) == 4


@pytest.mark.parametrize("kind", ["attempt", "delta", "completed", "failed", "cancelled", "invented-later"])
def test_a_block_is_named_after_its_events_type(kind: str) -> None:
    event: Any = {"type": kind}
    block = sse.block(b"1-0", events.encode(event))
    assert b"\nevent: %s\n" % kind.encode() in block
    assert events.is_ending(events.encode(event)) == (kind in events.ENDINGS)


def test_a_reset_has_no_id_so_that_it_moves_no_cursor() -> None:
    event, data = lines(sse.reset("9-9"))
    assert event == b"event: reset"
    assert orjson.loads(data.removeprefix(b"data: ")) == {"type": "reset", "requested": "9-9"}


@pytest.mark.parametrize("comment", [sse.CONNECTED, sse.PING, sse.retry(1234)])
def test_comments_and_retry_end_no_block(comment: bytes) -> None:
    # An ended block without data is an empty event to httpx-sse and openai-python
    assert comment.endswith(b"\n")
    assert comment.count(b"\n") == 1


def test_retry_is_written_as_a_browser_reads_it() -> None:
    assert sse.retry(2741) == b"retry: 2741\n"


def test_neither_proxies_nor_browsers_keep_anything() -> None:
    headers = dict(sse.HEADERS)
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store, no-transform"
    assert headers[b"x-accel-buffering"] == b"no"
