"""Aliases → the providers behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokentail.shared.chat_request import OURS, ChatRequest
from tokentail.shared.models import ModelList
from tokentail.worker.model.deployments import Route, in_order, make_route
from tokentail.worker.model.door import close_litellm_async_clients, litellm
from tokentail.worker.model.generation import Generation
from tokentail.worker.model.warm_up import warm_up

#: A chat request's parameters by their names in the protocol; `model` is an alias.
ChatCall = Mapping[str, Any]

# What of a request may reach litellm. It hands what it doesn't know to the provider, and what it does
# know can send the request elsewhere (`api_base`), so only what the protocol names gets through.
_PASSED_ON = ChatRequest.model_fields.keys() - OURS - {"model"}


class Models:
    """Every deployment of a model list, checked and ready. Make one per worker process.

    Raises ConfigError, with the file's line, for a reference to a variable that is not set, a model of no
    known provider and a parameter that litellm would hand on to the provider as it is.
    """

    def __init__(self, models: ModelList, environ: Mapping[str, str]) -> None:
        self._routes: dict[str, list[Route]] = {
            alias: [make_route(deployment, environ) for deployment in models.deployments(alias)]
            for alias in models.aliases
        }

    async def warm_up(self) -> None:
        """Do now what would make this process's first request a second late. Await it before claiming."""
        await warm_up()

    def has_other(self, alias: str) -> bool:
        """Whether the next attempt at a job would go to another deployment than this one."""
        return len(self._routes[alias]) > 1

    def chat(self, call: ChatCall, *, job_id: str, attempt: int) -> Generation:
        """Begin the answer to a request. `attempt` counts from 1; each goes to the job's next deployment."""
        routes = in_order(self._routes[call["model"]], job_id)
        route = routes[(attempt - 1) % len(routes)]
        arguments = _arguments(route, call)
        return Generation(route, call, lambda: litellm.acompletion(**arguments))

    async def aclose(self) -> None:
        """Close the idle connections to providers that litellm keeps for reuse."""
        await close_litellm_async_clients()  # type: ignore[no-untyped-call]


def _arguments(route: Route, call: ChatCall) -> dict[str, Any]:
    """What a request says wins over its deployment's defaults; what we need wins over both."""
    asked = {name: call[name] for name in _PASSED_ON & call.keys() if call[name] is not None}
    return {
        "stream_options": {"include_usage": True},
        **route.params,
        **asked,
        "stream": True,
        # Retries are the queue's: inside the call they would be invisible and hold a worker's slot.
        "max_retries": 0,
        "num_retries": 0,
        # Or litellm asks of every request with tools whether they are its gateway's, in code that needs the
        # package `mcp`, and fails without.
        "_skip_mcp_handler": True,
    }
