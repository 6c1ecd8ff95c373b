"""What an answer used and cost: as the provider counted it, or estimated."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from tokentail.shared.events import Usage
from tokentail.worker.model.deployments import Route
from tokentail.worker.model.door import litellm

# An estimate, and labelled as one: four bytes of UTF-8 a token is right within some ten per cent for
# English prose, and a chunk holds at least one token. Counting with a tokenizer would be no truer for
# most models, and would hold up every other job for as long as a long prompt takes.
_BYTES_PER_TOKEN = 4
#: What litellm assumes for an image whose size it doesn't know.
_TOKENS_PER_IMAGE = 250
#: What a chat format adds around each message.
_TOKENS_PER_MESSAGE = 4


def counted(usages: Sequence[Any]) -> Usage | None:
    """The provider's own count, or None if it gave none. Some give the prompt's part at the start and
    the answer's at the end; counts only grow, so the largest of each is the whole."""
    prompt = max((_number(u, "prompt_tokens") for u in usages), default=0)
    completion = max((_number(u, "completion_tokens") for u in usages), default=0)
    total = max((_number(u, "total_tokens") for u in usages), default=0)
    if not (prompt or completion or total):
        return None
    return _usage(prompt, completion, total, "provider")


def estimated(call: Mapping[str, Any], byte_count: int, chunk_count: int) -> Usage:
    """A count from sizes alone: cheap at any moment of an answer, however long."""
    prompt = sum(_prompt_tokens(message) for message in call.get("messages", ()))
    prompt += len(str(call["tools"])) // _BYTES_PER_TOKEN if call.get("tools") else 0
    return _usage(prompt, max(chunk_count, -(-byte_count // _BYTES_PER_TOKEN)), 0, "estimated")


def cost(route: Route, usages: Sequence[Any], usage: Usage) -> float | None:
    """US dollars for a provider's count; None if nobody knows the price. Never 0 for want of one."""
    if usage["source"] != "provider":
        return None
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    if len(route.prices) == 2:
        prices = route.prices
        return prices["input_cost_per_token"] * prompt + prices["output_cost_per_token"] * completion
    # An unknown model raises a plain Exception; a price of nothing for both is one that nobody filled in.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = litellm.cost_per_token(
            model=route.model,
            custom_llm_provider=route.provider,
            prompt_tokens=prompt,
            completion_tokens=completion,
            usage_object=_litellm_usage(usages, usage),
        )
        return sum(parts) or None
    return None


def _litellm_usage(usages: Sequence[Any], usage: Usage) -> Any:
    """With the details of the last count: cached and reasoning tokens have prices of their own."""
    last = usages[-1]
    details = dict(last if isinstance(last, Mapping) else last.model_dump())
    totals = {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return litellm.Usage(**(details | totals))


def _usage(prompt: int, completion: int, total: int, source: Any) -> Usage:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": max(total, prompt + completion),
        "source": source,
    }


def _number(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _prompt_tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    tokens = _TOKENS_PER_MESSAGE
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else None
        tokens += -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN) if text else 0
        tokens += _TOKENS_PER_IMAGE if isinstance(part, Mapping) and "image_url" in part else 0
    return tokens + (len(str(message["tool_calls"])) // _BYTES_PER_TOKEN if message.get("tool_calls") else 0)
