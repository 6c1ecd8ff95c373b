"""The only import of litellm, made quiet, offline and predictable. Takes 3 s of CPU: workers only.

The variables must stand in the environment before the import reads them; that they are set here, and
nowhere else, is why nothing but this package may import litellm.
"""

from __future__ import annotations

import logging
import os
import warnings

os.environ.update(
    # The price list, header list and announcements that come with the package, not from the network.
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS="True",
    LITELLM_LOCAL_BLOG_POSTS="True",
    # Any other mode reads a `.env` file from wherever the process was started.
    LITELLM_MODE="PRODUCTION",
    # A model that says the same thing a hundred times may mean it: litellm's wrapper, which a few providers
    # need, takes it for a fault.
    REPEATED_STREAMING_CHUNK_LIMIT="1000000000",
)

with warnings.catch_warnings():
    # Deprecations inside litellm and its dependencies, which neither we nor an operator can act on.
    warnings.simplefilter("ignore")
    import litellm
    from litellm.constants import DEFAULT_CHAT_COMPLETION_PARAM_VALUES
    from litellm.llms.base_llm.base_model_iterator import BaseModelResponseIterator
    from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients
    from litellm.llms.openai.chat.gpt_transformation import OpenAIChatCompletionStreamingHandler
    from litellm.types.router import GenericLiteLLMParams
    from litellm.types.utils import LlmProviders
    from litellm.utils import ProviderConfigManager
    from openai import AsyncStream

    # Made at first use otherwise, with warnings, and in the middle of the first request.
    litellm.ModelResponse()
    litellm.ModelResponseStream()

litellm.suppress_debug_info = True
litellm.turn_off_message_logging = True
litellm.telemetry = False
# Prompts and keys stand in litellm's debug log.
for _name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
# It logs each request's URL at INFO, and some providers take the key as part of the URL.
logging.getLogger("httpx").setLevel(logging.WARNING)

# litellm prepares a request in a thread. One that is cancelled in that moment is dropped unsent, which is
# right, and Python complains about the coroutine that would have sent it.
warnings.filterwarnings(
    "ignore",
    message=r"coroutine '\w*(Completion|Handler|LLM|Chat)\w*\.\w+' was never awaited",
    category=RuntimeWarning,
)

__all__ = [
    "DEFAULT_CHAT_COMPLETION_PARAM_VALUES",
    "AsyncStream",
    "BaseModelResponseIterator",
    "GenericLiteLLMParams",
    "LlmProviders",
    "OpenAIChatCompletionStreamingHandler",
    "ProviderConfigManager",
    "close_litellm_async_clients",
    "litellm",
]
