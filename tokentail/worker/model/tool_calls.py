"""Every provider's way of streaming tool calls → one: dense indexes, one per call, told apart for good.

OpenAI numbers its calls and sends id and name first, then pieces of arguments. Gemini, Groq and Ollama
send whole calls in one chunk; Ollama and some vLLM builds send index 0, or none, for all of them; some
repeat the name with each piece, some never send an id. Pure: no provider, no I/O.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tokentail.shared.events import ToolCallPart

# Where a provider gives no index, all its calls share this one and the other rules tell them apart.
_NO_INDEX = -1


class _Call:
    __slots__ = ("arguments", "id_is_ours", "index", "name")

    def __init__(self, index: int, *, id_is_ours: bool) -> None:
        self.index = index
        self.id_is_ours = id_is_ours
        self.name = ""
        self.arguments: list[str] = []

    def is_complete(self) -> bool:
        """Whether the arguments so far are a whole JSON object, so that more of them must be another's."""
        text = "".join(self.arguments).strip()
        if not text.endswith("}"):
            return False
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return True


class ToolCalls:
    """Give it the tool calls of each chunk in order; it answers with ours.

    `id` and `name` are given once each, with a call's first part (a name that the provider itself sends
    late is given when it comes). A missing or doubled id is replaced; a part that says nothing new is
    left out.
    """

    def __init__(self) -> None:
        self._count = 0
        # The newest call at each of the provider's indexes, and every call by index and id.
        self._newest: dict[int, _Call] = {}
        self._known: dict[tuple[int, str], _Call] = {}
        self._last: _Call | None = None
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return self._count

    def take(self, raw: Sequence[Mapping[str, Any]]) -> list[ToolCallPart]:
        """Turn one chunk's `tool_calls` into ours, in the same order."""
        parts: list[ToolCallPart] = []
        fed: set[int] = set()
        for item in raw:
            function = item.get("function") or {}
            part = self._take_one(
                item.get("index"),
                item.get("id") or "",
                function.get("name") or "",
                function.get("arguments"),
                fed,
            )
            if part is not None:
                parts.append(part)
        return parts

    def _take_one(
        self, given: Any, call_id: str, name: str, arguments: Any, fed: set[int]
    ) -> ToolCallPart | None:
        index = given if isinstance(given, int) else _NO_INDEX
        text = _as_text(arguments)
        call = self._find(index, call_id, name, fed)
        if call is not None:
            part = self._continued(call, name, text)
        else:
            call, part = self._begun(index, call_id, name, text)
        self._newest[index] = self._last = call
        if call_id:
            self._known[index, call_id] = call
        fed.add(call.index)
        return part

    def _find(self, index: int, call_id: str, name: str, fed: set[int]) -> _Call | None:
        """The call that a part goes on with, or None if it begins a new one."""
        held = self._newest.get(index)
        if call_id:
            if (known := self._known.get((index, call_id))) is not None:
                return known
            # An id that comes late: we have made one up and told it, so ours stays.
            is_late = held is not None and held.id_is_ours and not name and not self._has_id(index, held)
            return held if is_late else None
        if held is None:
            return self._last if index == _NO_INDEX and not name else None
        if not name or not held.name:
            return held
        # A name without an id is a repetition or another call. Another name, a second entry in the
        # same chunk, or a call that has all its arguments already: another call.
        is_other = name != held.name or held.index in fed or held.is_complete()
        return None if is_other else held

    def _has_id(self, index: int, call: _Call) -> bool:
        return any(known is call for (at, _), known in self._known.items() if at == index)

    def _continued(self, call: _Call, name: str, text: str) -> ToolCallPart | None:
        part: ToolCallPart = {"index": call.index}
        if name and not call.name:
            call.name = part["name"] = name
        if text:
            call.arguments.append(text)
            part["arguments"] = text
        return part if len(part) > 1 else None

    def _begun(self, index: int, call_id: str, name: str, text: str) -> tuple[_Call, ToolCallPart]:
        call = _Call(self._count, id_is_ours=not call_id)
        self._count += 1
        call.name = name
        call.arguments.append(text)
        # Clients answer a call by its id, so one that is taken already is as good as none.
        is_free = call_id and call_id not in self._ids
        part: ToolCallPart = {
            "index": call.index,
            "id": call_id if is_free else f"call_{secrets.token_hex(12)}",
        }
        self._ids.add(part["id"])
        if name:
            part["name"] = name
        part["arguments"] = text
        return call, part


def _as_text(arguments: Any) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
