"""Scripts that call tools, each in the manner of a provider. All come to the same two calls.

    call_<nonce>_0  weather  {"city":"Paris","unit":"celsius"}
    call_<nonce>_1  clock    {"zone":"Europe/Paris"}

(`tool-call` makes the first only; where ids are missing, they are missing.)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from tokentail.demo.steps import Ask, Delta, Finish, Step

_CALLS = (
    ("weather", ('{"ci', 'ty":"Par', 'is","unit":', '"celsius"}')),
    ("clock", ('{"zone":', '"Europe/', 'Paris"}')),
)


def single(ask: Ask) -> Iterator[Step]:
    """OpenAI: id and name first, then pieces of the arguments whose id is null."""
    yield _opening(ask, 0)
    yield from _arguments(0)
    yield Finish("tool_calls")


def parallel(ask: Ask) -> Iterator[Step]:
    """OpenAI: one call after the other."""
    for index in range(len(_CALLS)):
        yield _opening(ask, index)
        yield from _arguments(index)
    yield Finish("tool_calls")


def interleaved(ask: Ask) -> Iterator[Step]:
    """Both calls are opened, then the pieces of their arguments take turns."""
    yield _opening(ask, 0)
    yield _opening(ask, 1)
    for pair in zip_longest(_arguments(0), _arguments(1)):
        yield from (delta for delta in pair if delta is not None)
    yield Finish("tool_calls")


def whole(ask: Ask) -> Iterator[Step]:
    """Gemini, Groq: all calls, whole, in one chunk."""
    yield _delta(*(_whole(index) | {"index": index, "id": _id(ask, index)} for index in range(len(_CALLS))))
    yield Finish("tool_calls")


def same_index(ask: Ask) -> Iterator[Step]:
    """Ollama: whole calls, a chunk each, every one at index 0; only the ids tell them apart."""
    for index in range(len(_CALLS)):
        yield _delta(_whole(index) | {"index": 0, "id": _id(ask, index)})
    yield Finish("tool_calls")


def no_index(ask: Ask) -> Iterator[Step]:
    """Some servers: whole calls, a chunk each, without an index."""
    for index in range(len(_CALLS)):
        yield _delta(_whole(index) | {"id": _id(ask, index)})
    yield Finish("tool_calls")


def no_id(ask: Ask) -> Iterator[Step]:
    """Some vLLM builds: OpenAI's manner, but no call has an id."""
    for index, (name, pieces) in enumerate(_CALLS):
        yield _delta({"index": index, "type": "function", "function": {"name": name, "arguments": ""}})
        yield from (_delta({"index": index, "function": {"arguments": piece}}) for piece in pieces)
    yield Finish("tool_calls")


def repeated_name(ask: Ask) -> Iterator[Step]:
    """Some servers: id and name come again with every piece."""
    for index, (name, pieces) in enumerate(_CALLS):
        for piece in pieces:
            call = {"index": index, "id": _id(ask, index), "type": "function"}
            yield _delta(call | {"function": {"name": name, "arguments": piece}})
    yield Finish("tool_calls")


def _opening(ask: Ask, index: int) -> Delta:
    function = {"name": _CALLS[index][0], "arguments": ""}
    return _delta({"index": index, "id": _id(ask, index), "type": "function", "function": function})


def _arguments(index: int) -> Iterator[Delta]:
    for piece in _CALLS[index][1]:
        yield _delta({"index": index, "id": None, "function": {"name": None, "arguments": piece}})


def _whole(index: int) -> dict[str, Any]:
    name, pieces = _CALLS[index]
    return {"type": "function", "function": {"name": name, "arguments": "".join(pieces)}}


def _id(ask: Ask, index: int) -> str:
    return f"call_{ask.nonce}_{index}"


def _delta(*parts: dict[str, Any]) -> Delta:
    return {"tool_calls": list(parts)}
