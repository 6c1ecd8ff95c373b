"""Events are stored, sent and folded as the same bytes, whose type can be read without parsing."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest
from given import attempt, completed, delta, failed
from hypothesis import given
from hypothesis import strategies as st

from tokentail.shared import events

TEXT = st.text(st.characters(codec="utf-8"))
REST = st.dictionaries(TEXT.filter(lambda name: name != "type"), TEXT | st.integers(0, 9) | st.none())
TYPES = st.from_regex(r"[a-z_]{1,20}", fullmatch=True)


@given(TYPES, REST)
def test_the_type_read_from_the_first_bytes_is_the_parsed_type(kind: str, rest: dict[str, Any]) -> None:
    raw = events.encode({"type": kind, **rest})  # type: ignore[arg-type, typeddict-item]
    assert events.type_of(raw) == orjson.loads(raw)["type"] == kind


@given(TYPES, REST)
def test_an_event_is_read_as_it_was_written_on_one_line(kind: str, rest: dict[str, Any]) -> None:
    event: Any = {"type": kind, **rest}
    raw = events.encode(event)
    assert events.decode(raw) == event
    # An SSE `data:` field ends at a line end of either kind.
    assert b"\n" not in raw
    assert b"\r" not in raw


@pytest.mark.parametrize("event", [{"attempt": 1, "type": "attempt"}, {}, {"typed": "delta"}])
def test_an_event_whose_type_is_not_first_is_not_written(event: Any) -> None:
    with pytest.raises(AssertionError, match="type"):
        events.encode(event)


def test_exactly_three_events_are_endings() -> None:
    cancelled: Any = {"type": "cancelled", "reason": "requested", "usage": None}
    kinds = [attempt(), delta("x"), completed(), failed(), cancelled]
    assert [event["type"] in events.ENDINGS for event in kinds] == [False, False, True, True, True]
    assert len(events.ENDINGS) == 3


def test_an_event_that_is_kept_takes_hardly_more_memory_than_its_json() -> None:
    # Given a long answer, as a worker keeps it until its job has ended
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [events.encode(delta(f"{number} ")) for number in range(1000)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Then it takes what bytes objects of that length take, and a place in the list
    assert after - before < 2 * (sum(map(len, kept)) + 50 * len(kept))
