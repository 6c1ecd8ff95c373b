"""A cursor is a position in a log, written one way only."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from tokentail.shared.cursor import START, Cursor
from tokentail.shared.errors import MalformedCursor

HALVES = st.integers(0, 10**19 - 1)


@given(HALVES, HALVES)
def test_a_cursor_is_read_as_it_is_written(fence: int, seq: int) -> None:
    cursor = Cursor(fence, seq)
    assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(str(cursor).encode()) == cursor


@given(st.text(max_size=30) | st.from_regex(r"[0-9 +_-]{0,6}-[0-9 +_-]{0,6}", fullmatch=True))
def test_what_is_not_written_as_we_write_it_is_refused(text: str) -> None:
    # Then there is one spelling per position: what can be read is written the same again
    try:
        cursor = Cursor.parse(text)
    except MalformedCursor:
        return
    assert str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-*",
        "$",
        "+",
        "01-0",
        "1-00",
        " 1-0",
        "1-0\n",
        "1-0 ",
        "+1-0",
        "1--0",
        "1_0-0",
        "\u0661-\u0660",
        "1.0-0",
        "1e3-0",
        "0x1-0",
        "18446744073709551616-0",
        "99999999999999999999-0",
        "1-0-0",
        "1-0\x00",
    ],
)
def test_a_malformed_cursor_is_refused(text: str) -> None:
    with pytest.raises(MalformedCursor):
        Cursor.parse(text)
    with pytest.raises(MalformedCursor):
        Cursor.parse(text.encode())


def test_bytes_that_are_no_text_are_refused_too() -> None:
    with pytest.raises(MalformedCursor):
        Cursor.parse(b"\xff\xfe-0")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.sets(st.tuples(HALVES, HALVES).filter(lambda pair: pair > (0, 0)), max_size=8))
async def test_cursors_order_as_redis_orders_them(redis: Redis, ids: set[tuple[int, int]]) -> None:
    # Given entries whose ids we put in order
    in_order = sorted(Cursor(*pair) for pair in ids)
    # When Redis, which refuses an id that is not greater than the last, takes them in that order
    await redis.delete("cursors")
    for cursor in in_order:
        await redis.xadd("cursors", {"e": ""}, id=str(cursor))
    # Then it gives them back in that order, and takes none the other way round
    assert [Cursor.parse(entry_id) for entry_id, _ in await redis.xrange("cursors")] == in_order


async def test_nothing_stands_before_the_start(redis: Redis) -> None:
    # Given the smallest id that Redis accepts
    await redis.xadd("first", {"e": ""}, id="0-1")
    # Then it stands after the start, as all others do
    found = await redis.xrange("first", min=f"({START}")
    assert [Cursor.parse(entry_id) for entry_id, _ in found] == [Cursor(0, 1)]
    assert all(Cursor(0, 1) <= Cursor(f, s) for f, s in itertools.product((1, 2), (0, 1)))
    assert Cursor(0, 1) > START
