"""Tool calls of every manner get dense indexes, are told apart and put together."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tokentail.shared.events import ToolCallPart
from tokentail.shared.fold import Fold, ToolCall
from tokentail.worker.model.tool_calls import ToolCalls

Raw = dict[str, Any]


def _part(index: int | None, call_id: str | None, name: str | None, arguments: Any) -> Raw:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def _parts(*chunks: list[Raw]) -> list[ToolCallPart]:
    calls = ToolCalls()
    return [part for chunk in chunks for part in calls.take(chunk)]


def _folded(*chunks: list[Raw]) -> list[ToolCall]:
    fold = Fold()
    for part in _parts(*chunks):
        fold.add({"type": "delta", "tool_calls": [part]})
    return fold.result()["tool_calls"]


def _simple(calls: list[ToolCall]) -> list[tuple[str, str]]:
    return [(call["name"], call["arguments"]) for call in calls]


def test_id_and_name_are_given_once_with_the_first_part() -> None:
    assert _parts([_part(0, "x", "f", "")], [_part(0, "x", "f", "{")], [_part(0, None, None, "}")]) == [
        {"index": 0, "id": "x", "name": "f", "arguments": ""},
        {"index": 0, "arguments": "{"},
        {"index": 0, "arguments": "}"},
    ]


def test_another_id_at_the_same_index_is_another_call() -> None:
    assert _folded([_part(0, "x", "f", "{}")], [_part(0, "y", "g", "{}")]) == [
        {"id": "x", "name": "f", "arguments": "{}"},
        {"id": "y", "name": "g", "arguments": "{}"},
    ]


def test_indexes_are_dense_whatever_the_provider_counts_from() -> None:
    parts = _parts([_part(3, "x", "f", "")], [_part(7, "y", "g", "")], [_part(3, None, None, "{}")])
    assert [part["index"] for part in parts] == [0, 1, 0]


def test_interleaved_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    chunks = [
        [_part(None, i, n, a)]
        for i, n, a in (("x", "f", "{"), ("y", "g", "["), ("x", "f", "}"), ("y", "", "]"))
    ]
    assert _simple(_folded(*chunks)) == [("f", "{}"), ("g", "[]")]


def test_whole_calls_of_different_names_need_neither_index_nor_id() -> None:
    assert _simple(_folded([_part(None, None, "f", "{}")], [_part(None, None, "g", "{}")])) == [
        ("f", "{}"),
        ("g", "{}"),
    ]


def test_calls_of_different_names_without_arguments_need_neither_index_nor_id() -> None:
    assert _simple(_folded([_part(0, None, "f", "")], [_part(0, None, "g", "")])) == [("f", ""), ("g", "")]


def test_whole_calls_of_the_same_name_need_neither_index_nor_id() -> None:
    assert _simple(_folded([_part(0, None, "f", '{"a":1}')], [_part(0, None, "f", '{"a":2}')])) == [
        ("f", '{"a":1}'),
        ("f", '{"a":2}'),
    ]


def test_calls_without_arguments_in_one_chunk_are_different_calls() -> None:
    assert _simple(_folded([_part(0, "", "f", ""), _part(0, "", "f", "")])) == [("f", ""), ("f", "")]


def test_a_name_that_is_repeated_with_each_piece_is_one_name() -> None:
    chunks = [[_part(0, None, "f", piece)] for piece in ('{"a"', ":1", "}")]
    assert _simple(_folded(*chunks)) == [("f", '{"a":1}')]


def test_a_missing_id_is_invented_and_never_given_twice() -> None:
    calls = _folded([_part(0, None, "f", "{}"), _part(1, None, "g", "{}")])
    assert all(call["id"].startswith("call_") for call in calls)
    assert calls[0]["id"] != calls[1]["id"]


def test_an_id_that_comes_late_does_not_change_the_one_already_given() -> None:
    parts = _parts([_part(0, None, "f", "")], [_part(0, "late", None, "{}")], [_part(0, "late", None, " ")])
    assert [part["index"] for part in parts] == [0, 0, 0]
    assert [part.get("id") for part in parts[1:]] == [None, None]


def test_a_name_that_comes_late_is_given_when_it_comes() -> None:
    assert _simple(_folded([_part(0, "x", None, "")], [_part(0, None, "f", "{}")])) == [("f", "{}")]


def test_arguments_that_are_no_text_become_text() -> None:
    assert _simple(_folded([_part(0, "x", "f", {"a": 1})])) == [("f", '{"a":1}')]


def test_a_part_that_says_nothing_is_left_out() -> None:
    assert _parts([_part(0, "x", "f", "")], [_part(0, None, None, "")], [_part(0, "x", "f", None)]) == [
        {"index": 0, "id": "x", "name": "f", "arguments": ""}
    ]


_calls = st.lists(
    st.tuples(
        st.sampled_from(["f", "g", "h"]),
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=3).map(json.dumps),
    ),
    min_size=1,
    max_size=5,
)


def _cut(text: str, data: st.DataObject) -> list[str]:
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]


@given(calls=_calls, indexed=st.booleans(), data=st.data())
def test_any_calls_cut_anywhere_in_openais_manner_come_out_whole(
    calls: list[tuple[str, str]], indexed: bool, data: st.DataObject
) -> None:
    chunks = []
    for number, (name, arguments) in enumerate(calls):
        index = number if indexed else data.draw(st.sampled_from([0, None]))
        first, *rest = _cut(arguments, data)
        chunks.append([_part(index, f"id{number}", name, first)])
        chunks += [[_part(index, None, None, piece)] for piece in rest]
    assert _simple(_folded(*chunks)) == calls


@given(calls=_calls, data=st.data())
def test_any_calls_that_repeat_id_and_name_in_any_order_come_out_whole(
    calls: list[tuple[str, str]], data: st.DataObject
) -> None:
    # Given pieces of all calls, mixed, but each call's in their order and the calls begun in theirs
    waiting = [
        [_part(n, f"id{n}", name, piece) for piece in _cut(text, data)]
        for n, (name, text) in enumerate(calls)
    ]
    chunks = [[parts.pop(0)] for parts in waiting]
    while any(waiting):
        chunks.append([data.draw(st.sampled_from([parts for parts in waiting if parts])).pop(0)])
    assert _simple(_folded(*chunks)) == calls


@given(calls=_calls, at_once=st.booleans(), index=st.sampled_from([0, None]))
def test_any_whole_calls_without_ids_come_out_one_by_one(
    calls: list[tuple[str, str]], at_once: bool, index: int | None
) -> None:
    parts = [_part(index, None, name, arguments) for name, arguments in calls]
    chunks = [parts] if at_once else [[part] for part in parts]
    assert _simple(_folded(*chunks)) == calls


_anything = st.fixed_dictionaries(
    {
        "index": st.none() | st.integers(-1, 3) | st.text(max_size=2),
        "id": st.none() | st.sampled_from(["", "x", "y"]),
        "function": st.none()
        | st.fixed_dictionaries(
            {
                "name": st.none() | st.sampled_from(["", "f", "g"]),
                "arguments": st.none() | st.sampled_from(["", "{", "}", "{}"]),
            }
        ),
    }
)


@given(st.lists(st.lists(_anything, max_size=3), max_size=8))
def test_whatever_comes_indexes_are_dense_ids_unique_and_no_argument_is_lost(chunks: list[list[Raw]]) -> None:
    parts = _parts(*chunks)
    # Then each call begins with its id, and calls are numbered as they begin,
    ids = [part["id"] for part in parts if "id" in part]
    assert len(set(ids)) == len(ids)
    assert [part["index"] for part in parts if "id" in part] == list(range(len(ids)))
    # And the arguments are all that came.
    sent = [((item["function"] or {}).get("arguments") or "") for chunk in chunks for item in chunk]
    assert "".join(part.get("arguments", "") for part in parts) == "".join(sent)
