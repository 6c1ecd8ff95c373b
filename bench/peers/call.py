"""The call that both sides make: the same litellm with the same settings and arguments."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

# The worker's own import, for its settings: offline, quiet, in production mode. They make litellm faster.
from tokentail.worker.model.door import litellm


async def completion(model: str, messages: Sequence[dict[str, Any]]) -> AsyncIterator[Any]:
    """litellm's stream of chunks for one of the provider's scenarios."""
    stream = await litellm.acompletion(
        model=f"openai/{model}",
        messages=list(messages),
        stream=True,
        stream_options={"include_usage": True},
        api_base=os.environ["TOKENTAIL_DEMO_URL"],
        api_key="demo",
        timeout=3600.0,
        max_retries=0,
        num_retries=0,
    )
    return cast(AsyncIterator[Any], stream)
