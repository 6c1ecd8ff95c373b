"""The decoder of server-sent events, against the WHATWG rules and two independent readings of them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from httpx_sse._decoders import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from tokentail.client.sse import Decoder, ServerSentEvent

Read = list[tuple[str, str, str]]


def decode(*chunks: bytes) -> Read:
    decoder = Decoder()
    return [tuple(event) for chunk in chunks for event in decoder.feed(chunk)]


def read_plainly(raw: bytes) -> Read:
    """The WHATWG rules once more, over the whole text at once and with none of our code."""
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    events: Read = []
    last_id, event, data = "", "", ""
    for line in re.split("\r\n|\r|\n", text)[:-1]:
        if line == "":
            if data:
                events.append((last_id, event or "message", data[:-1]))
            event = data = ""
            continue
        match = re.fullmatch("([^:]*)(?:: ?(.*))?", line, re.DOTALL)
        assert match is not None
        name, value = match[1], match[2] or ""
        if name == "data":
            data += value + "\n"
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


lines = st.one_of(
    st.sampled_from(["data", "data:", "data: x", "data:  zwei", ":", ": ping", "id:", "id: 1-2", "id: a\0b"]),
    st.sampled_from(
        ["event: delta", "event", "retry: 12", "retry: x", "unknown: 1", "", "", "", "data: ü€😀"]
    ),
    st.text(alphabet="ab:ü😀\ufeff\u2028 ", max_size=8),
)
streams = st.builds(
    lambda bom, rows: (bom + "".join(text + end for text, end in rows)).encode(),
    st.sampled_from(["", "\ufeff"]),
    st.lists(st.tuples(lines, st.sampled_from(["\n", "\r", "\r\n"])), max_size=25),
)


@given(streams, st.lists(st.integers(0, 200), max_size=12))
def test_events_are_the_same_wherever_the_bytes_are_cut(raw: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    chunks = [raw[start:stop] for start, stop in pairwise(edges)]

    assert decode(*chunks) == read_plainly(raw)


@given(streams)
def test_events_are_the_same_byte_by_byte(raw: bytes) -> None:
    assert decode(*(bytes([byte]) for byte in raw)) == read_plainly(raw)


@given(st.binary(max_size=80))
def test_no_bytes_at_all_can_upset_it(raw: bytes) -> None:
    assert decode(raw) == read_plainly(raw)


@given(
    st.lists(
        st.tuples(
            st.from_regex("[0-9]{1,3}-[0-9]{1,3}", fullmatch=True),
            st.sampled_from(["delta", "attempt", "completed"]),
            st.text(alphabet=st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1),
        )
    )
)
def test_what_our_server_writes_reads_as_httpx_sse_reads_it(sent: Read) -> None:
    text = "".join(f"id: {one}\nevent: {event}\ndata: {data}\n\n" for one, event, data in sent)
    other = SSEDecoder()
    theirs = [other.decode(line) for line in text.split("\n")[:-1]]

    assert decode(text.encode()) == [(one.id, one.event, one.data) for one in theirs if one is not None]
    assert decode(text.encode()) == sent


def test_an_event_is_given_out_at_the_first_byte_of_its_closing_line_end() -> None:
    """Else a server that ends lines with CR alone is always read one event late."""
    decoder = Decoder()

    assert [event.data for event in decoder.feed(b"data: now\r\r")] == ["now"]
    assert list(decoder.feed(b"\n")) == []


def test_an_event_that_was_cut_off_is_never_given_out() -> None:
    assert decode(b"data: whole\n\ndata: half\n") == [("", "message", "whole")]


def test_a_comment_or_a_bare_retry_gives_no_event() -> None:
    """The server sends heartbeats between events; they must not look like empty ones."""
    assert decode(b"id: 1-0\ndata: x\n\n: ping\n\nretry: 5\n\n") == [("1-0", "message", "x")]


def test_several_data_lines_are_one_text() -> None:
    assert decode(b"data: a\ndata:\ndata: b\n\n") == [("", "message", "a\n\nb")]


@pytest.mark.parametrize(
    ("written", "read"), [("2741", 2741), ("", None), ("-1", None), ("1.5", None), ("٣", None)]
)
def test_retry_is_taken_only_as_digits(written: str, read: int | None) -> None:
    decoder = Decoder()

    assert list(decoder.feed(f"retry: {written}\n".encode())) == []
    assert decoder.retry_ms == read


def test_an_event_names_its_parts() -> None:
    decoder = Decoder()

    (event,) = decoder.feed(b"id: 1-0\nevent: delta\ndata: {}\n\n")

    assert event == ServerSentEvent(id="1-0", event="delta", data="{}")
