"""The fold turns events into the result so far, the same way on every side."""

from __future__ import annotations

from typing import Any

from given import attempt, completed, delta, failed
from hypothesis import given
from hypothesis import strategies as st

from tokentail.shared.fold import Fold

NOTHING = {"content": None, "reasoning": None, "refusal": None, "tool_calls": [], "finish_reason": None}


def folded(*events: Any) -> Any:
    fold = Fold()
    for event in events:
        fold.add(event)
    return fold.result()


def part(index: int, **fields: str) -> dict[str, Any]:
    return {"type": "delta", "tool_calls": [{"index": index, **fields}]}


def naive(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The result by the protocol's words, as slowly and plainly as can be."""
    begin = max(
        (i for i, e in enumerate(events) if e["type"] == "attempt" and not e.get("continues")), default=0
    )
    deltas = [e for e in events[begin:] if e["type"] == "delta"]
    parts = [p for d in deltas for p in d.get("tool_calls", [])]
    result: dict[str, Any] = {}
    for kind in ("content", "reasoning", "refusal"):
        pieces = [d[kind] for d in deltas if kind in d]
        result[kind] = "".join(pieces) if pieces else None
    result["tool_calls"] = [
        {
            "id": next((p["id"] for p in parts if p["index"] == index and p.get("id")), ""),
            "name": next((p["name"] for p in parts if p["index"] == index and p.get("name")), ""),
            "arguments": "".join(p.get("arguments", "") for p in parts if p["index"] == index),
        }
        for index in sorted({p["index"] for p in parts})
    ]
    ends = [e["finish_reason"] for e in events if e["type"] == "completed"]
    result["finish_reason"] = ends[-1] if ends else None
    return result


TEXT = st.text(max_size=4)


@st.composite
def logs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A log as workers write it: attempts with deltas, at most one ending, at its end."""
    log: list[dict[str, Any]] = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        begins: dict[str, Any] = {"type": "attempt", "attempt": number, "reason": "retry"}
        log.append(begins | draw(st.sampled_from([{}, {"continues": True}, {"continues": False}])))
        named: set[int] = set()
        for _ in range(draw(st.integers(0, 6))):
            said = draw(
                st.dictionaries(st.sampled_from(["content", "reasoning", "refusal"]), TEXT, max_size=2)
            )
            parts = []
            for index in draw(st.lists(st.integers(0, 2), max_size=2)):
                first = {} if index in named else {"id": f"{number}/{index}", "name": f"f{number}{index}"}
                named.add(index)
                parts.append({"index": index, **first, "arguments": draw(TEXT)})
            log.append({"type": "delta", **said, **({"tool_calls": parts} if parts else {})})
        if draw(st.booleans()):
            log.append({"type": "invented-later", "content": "not for us"})
    if draw(st.booleans()):
        log.append(draw(st.sampled_from([completed(), completed(finish_reason="length"), failed()])))
    return log


@given(logs())
def test_the_fold_of_every_log_is_what_the_protocol_says_in_words(log: list[dict[str, Any]]) -> None:
    if any(event.get("continues") for event in log):
        # A call that goes on in a continued attempt keeps the id and name it began with; only our
        # generated logs give it new ones there.
        log = [{k: v for k, v in event.items() if k != "tool_calls"} for event in log]
    assert folded(*log) == naive(log)


@given(logs())
def test_adding_events_as_they_come_gives_at_any_point_the_fold_of_what_came(log: list[Any]) -> None:
    fold = Fold()
    for count, event in enumerate(log, 1):
        fold.add(event)
        # Asking in between changes nothing.
        assert fold.result() == fold.result() == folded(*log[:count])


def test_before_the_model_says_anything_every_member_is_null() -> None:
    assert folded() == folded(attempt()) == NOTHING


def test_an_empty_text_is_something_said() -> None:
    assert folded(attempt(), delta(""))["content"] == ""


def test_a_new_attempt_voids_what_came_before() -> None:
    # Given an attempt that said something of every kind
    first = [
        attempt(),
        {"type": "delta", "content": "a", "reasoning": "b", "refusal": "c"},
        part(0, id="x", name="f", arguments="{}"),
    ]
    # When another begins
    # Then nothing of it is left
    assert folded(*first, attempt(2, "lost")) == NOTHING
    assert folded(*first, attempt(2, "lost"), delta("new"))["content"] == "new"


def test_an_attempt_that_continues_keeps_what_came_before() -> None:
    continues = {**attempt(2, "handoff"), "continues": True}
    assert folded(attempt(), delta("Hel"), continues, delta("lo"))["content"] == "Hello"


def test_the_fold_knows_the_newest_attempt() -> None:
    fold = Fold()
    fold.add(attempt(1))
    fold.add(attempt(2, "retry"))
    assert fold.attempt == 2


def test_an_ending_keeps_what_was_said() -> None:
    assert folded(attempt(), delta("Hi"), failed()) == {**NOTHING, "content": "Hi"}
    assert folded(attempt(), delta("Hi"), completed()) == {
        **NOTHING,
        "content": "Hi",
        "finish_reason": "stop",
    }


def test_parts_of_interleaved_tool_calls_find_their_own_call() -> None:
    result = folded(
        attempt(),
        part(1, id="b", name="second", arguments=""),
        part(0, id="a", name="first", arguments='{"x"'),
        part(1, arguments='{"y":'),
        part(0, arguments=":1}"),
        part(1, arguments="2}"),
    )
    # Then they are in the order of their index, each with its whole arguments
    assert result["tool_calls"] == [
        {"id": "a", "name": "first", "arguments": '{"x":1}'},
        {"id": "b", "name": "second", "arguments": '{"y":2}'},
    ]


def test_types_that_came_later_are_passed_over() -> None:
    unknown = {"type": "invented-later", "content": "x", "attempt": 9}
    fold = Fold()
    for event in (attempt(), delta("Hi"), unknown):
        fold.add(event)
    assert fold.result()["content"] == "Hi"
    assert fold.attempt == 1
