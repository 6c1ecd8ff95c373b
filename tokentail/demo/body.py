"""The request's body: what of it the provider heeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from tokentail.demo.errors import ProviderError


@dataclass(frozen=True, slots=True)
class Body:
    """A chat request that is sound enough to be answered; `fields` is all of it."""

    fields: dict[str, Any]
    model: str
    stream: bool
    include_usage: bool
    #: How many alternatives per token, or None when logprobs weren't asked for.
    top_logprobs: int | None
    #: The limit on the answer's tokens, if there is one.
    most_tokens: int | None

    @classmethod
    def parse(cls, raw: bytes) -> Body:
        """Read a request. Raises ProviderError (400) for what no OpenAI-compatible server would take."""
        try:
            fields = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise ProviderError(400, "The body is not JSON.") from None
        if not isinstance(fields, dict) or not isinstance(fields.get("model"), str):
            raise ProviderError(400, "You must provide a model parameter.", param="model")
        if not isinstance(fields.get("messages"), list) or not fields["messages"]:
            raise ProviderError(400, "'messages' must be a list with at least one message.", param="messages")
        return cls(
            fields=fields,
            model=fields["model"],
            stream=fields.get("stream") is True,
            include_usage=(_given(fields, "stream_options", dict) or {}).get("include_usage") is True,
            top_logprobs=(_given(fields, "top_logprobs", int) or 0) if fields.get("logprobs") else None,
            most_tokens=_given(fields, "max_completion_tokens", int) or _given(fields, "max_tokens", int),
        )

    def prompt(self) -> str:
        """The text of the last message that a user wrote."""
        for message in reversed(self.fields["messages"]):
            if isinstance(message, dict) and message.get("role") == "user":
                return _text(message.get("content"))
        return ""

    def prompt_tokens(self) -> int:
        """A rough count, four characters to a token, as providers' own rules of thumb have it."""
        texts = (
            _text(message.get("content")) for message in self.fields["messages"] if isinstance(message, dict)
        )
        return max(1, sum(map(len, texts)) // 4)


def _given(fields: dict[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise ProviderError(400, f"Invalid type for '{name}'.", param=name, code="invalid_type")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(part for part in parts if isinstance(part, str))
    return ""
