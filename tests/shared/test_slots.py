"""Who holds which slot, and what nodes say when it is somebody else."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from tokentail.shared.slots import Redirection, SlotMap, redirection

ANSWER = [
    [0, 99, [b"10.0.0.1", 7000, b"id1"], [b"10.0.0.4", 7003, b"id4", []]],
    [100, 16382, [b"", 7001, b"id2"]],
    [16383, 16383, [None, 7002, b"id3", [b"hostname", b"c"]]],
]


def test_a_map_tells_each_slots_primary() -> None:
    slots = SlotMap.parse(ANSWER, "redis.example:6379")
    assert [slots.owner(slot) for slot in (0, 99)] == ["10.0.0.1:7000"] * 2
    # A node that does not know its own name is called as it was asked
    assert [slots.owner(slot) for slot in (100, 16382)] == ["redis.example:7001"] * 2
    assert slots.owner(16383) == "redis.example:7002"
    assert slots.primaries == {"10.0.0.1:7000", "redis.example:7001", "redis.example:7002"}
    assert slots.replicas == {"10.0.0.4:7003"}
    assert slots.uncovered == 0


def test_nodes_with_long_addresses_are_called_as_urls_call_them() -> None:
    slots = SlotMap.parse([[0, 0, [b"fe80::1", 1, b"a"]], [1, 1, [b"", 2, b"b"]]], "[::1]:6379")
    assert [slots.owner(slot) for slot in (0, 1)] == ["[fe80::1]:1", "[::1]:2"]


def test_a_map_with_holes_tells_how_many() -> None:
    slots = SlotMap.parse(ANSWER[:1], "x:1")
    assert (slots.owner(99), slots.owner(100), slots.uncovered) == ("10.0.0.1:7000", None, 16284)
    assert SlotMap().uncovered == 16384


def test_a_slot_that_moved_is_elsewhere_and_the_others_are_where_they_were() -> None:
    slots = SlotMap.parse(ANSWER, "x:1")
    slots.move(50, "10.0.0.9:7009")
    assert [slots.owner(slot) for slot in (49, 50, 51)] == ["10.0.0.1:7000", "10.0.0.9:7009", "10.0.0.1:7000"]
    assert "10.0.0.9:7009" in slots.primaries


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("MOVED 3999 10.0.0.1:6381", Redirection(3999, "10.0.0.1:6381", asking=False)),
        ("ASK 12 host-7.example:1", Redirection(12, "host-7.example:1", asking=True)),
        # The other one has no name: it is where we asked, at another port
        ("MOVED 3999 :6381", Redirection(3999, "asked:6381", asking=False)),
        ("MOVED 3999 ?:6381", Redirection(3999, "asked:6381", asking=False)),
        ("MOVED 1 ::1:6381", Redirection(1, "[::1]:6381", asking=False)),
        ("TRYAGAIN Multiple keys request during rehashing of slot", None),
        ("CLUSTERDOWN Hash slot not served", None),
        ("WRONGTYPE MOVED 1 a:2", None),
    ],
)
def test_a_node_that_sends_us_on_says_where_to(said: str, means: Redirection | None) -> None:
    assert redirection(ResponseError(said), "asked:6379") == means
