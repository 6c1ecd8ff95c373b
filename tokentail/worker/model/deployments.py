"""Deployments ready to be called: references resolved, checked against what litellm understands, ordered."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokentail.shared.errors import ConfigError
from tokentail.shared.models import ENVIRONMENT_REFERENCE, Deployment
from tokentail.worker.model.door import (
    DEFAULT_CHAT_COMPLETION_PARAM_VALUES,
    GenericLiteLLMParams,
    LlmProviders,
    ProviderConfigManager,
    litellm,
)

#: What the demo models refer to: a worker without a model list is most often one whose list was forgotten.
_DEMO_VARIABLE = "TOKENTAIL_DEMO_URL"
_DEMO_HINT = (
    " Set TOKENTAIL_MODELS to your models.yaml; or for the demo models run `tokentail demo-provider`,"
    " and set the variable to http://127.0.0.1:8001/v1."
)

#: Seconds that one socket read may take. Our own timeouts come first; this one only has to be longer
#: than any of them, and the same for each request, because each value makes litellm a new client.
SOCKET_SECONDS = 3600.0

# Read by the LiteLLM proxy's router, whose work is done here by other means: accepted, not passed on.
_FOR_THE_ROUTER = frozenset(
    {
        "weight",
        "order",
        "tpm",
        "rpm",
        "itpm",
        "otpm",
        "max_retries",
        "num_retries",
        "tags",
        "tag_regex",
        "cooldown_time",
        "base_model",
        "max_parallel_requests",
        "max_budget",
        "budget_duration",
        "model_info",
        "stream_timeout",
        "timeout",
        "use_in_pass_through",
        "default_api_key_tpm_limit",
        "default_api_key_rpm_limit",
        "merge_reasoning_content_in_choices",
    }
)

# Belong to a request or to us, or would answer in the provider's place.
_REFUSED = frozenset(
    {"messages", "stream", "n", "functions", "function_call", "mock_response", "use_litellm_proxy"}
)

# Understood by litellm's `acompletion`, though its types don't list them.
_ALSO_UNDERSTOOD = frozenset(
    {
        "extra_body",
        "extra_headers",
        "headers",
        "base_url",
        "api_version",
        "ssl_verify",
        "organization",
        "deployment_id",
        "allowed_openai_params",
        "additional_drop_params",
        "supports_system_message",
        "custom_prompt_dict",
        "cache_control_injection_points",
        "provider_specific_header",
        "enable_json_schema_validation",
    }
)

# Shorter values can't be a secret, and blotting them out would make holes in innocent words.
_SECRET_MIN_LENGTH = 6
_SECRET_WORDS = ("key", "token", "secret", "password", "credential")


@dataclass(frozen=True, slots=True)
class Route:
    """One deployment, ready: the arguments for litellm, the provider's name, and what must never be shown."""

    alias: str
    provider: str
    model: str
    weight: float
    params: Mapping[str, Any] = field(repr=False)
    prices: Mapping[str, float]
    secrets: tuple[str, ...] = field(repr=False)


def make_route(deployment: Deployment, environ: Mapping[str, str]) -> Route:
    """Resolve and check one deployment. Raises ConfigError with `file:line:` of what is wrong."""
    referred: list[str] = []
    params = {
        name: _resolved(value, deployment, name, environ, referred)
        for name, value in deployment.params.items()
    }
    model, provider = _provider_of(deployment, params)
    understood = _understood_by(provider, model)
    for name in params:
        if name in _REFUSED or name not in understood:
            raise ConfigError(
                f"{deployment.where(name)}: litellm_params.{name} of {deployment.alias!r} is not a parameter "
                "that can be set here; what is meant for the provider's own body belongs under extra_body."
            )
    written = {name: value for name, value in params.items() if any(w in name.lower() for w in _SECRET_WORDS)}
    secrets = {text for text in (*referred, *_texts(written)) if len(text) >= _SECRET_MIN_LENGTH}
    return Route(
        alias=deployment.alias,
        provider=provider,
        model=model,
        weight=float(params.get("weight", 1)),
        params={name: value for name, value in params.items() if name not in _FOR_THE_ROUTER}
        | {"timeout": _timeout(deployment, params)},
        prices=_prices(deployment, params),
        secrets=tuple(sorted(secrets, key=len, reverse=True)),
    )


def in_order(routes: Sequence[Route], job_id: str) -> list[Route]:
    """The order in which a job tries an alias's deployments: by chance, weighted, and the same for a job
    on every worker, so that its second attempt goes elsewhere wherever it runs. Weight 0 comes last."""
    chance = random.Random(job_id)  # noqa: S311  (spreads load, guards nothing)
    # Efraimidis and Spirakis: sorting by u ** (1 / weight) draws without replacement, by weight.
    keys = {id(r): chance.random() ** (1 / r.weight) if r.weight else -chance.random() for r in routes}
    return sorted(routes, key=lambda r: keys[id(r)], reverse=True)


def _resolved(
    value: Any, deployment: Deployment, name: str, environ: Mapping[str, str], referred: list[str]
) -> Any:
    if isinstance(value, dict):
        return {k: _resolved(v, deployment, name, environ, referred) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolved(v, deployment, name, environ, referred) for v in value]
    if not isinstance(value, str) or not value.startswith(ENVIRONMENT_REFERENCE):
        return value
    variable = value.removeprefix(ENVIRONMENT_REFERENCE).strip()
    found = environ.get(variable, "")
    if not found:
        raise ConfigError(
            f"{deployment.where(name)}: {name} of {deployment.alias!r} refers to the environment variable "
            f"{variable}, which is not set.{_DEMO_HINT if variable == _DEMO_VARIABLE else ''}"
        )
    referred.append(found)
    return found


def _provider_of(deployment: Deployment, params: Mapping[str, Any]) -> tuple[str, str]:
    try:
        model, provider, *_ = litellm.get_llm_provider(
            model=params["model"], custom_llm_provider=params.get("custom_llm_provider")
        )
    except Exception:
        model, provider = params["model"], ""
    if provider not in {known.value for known in LlmProviders}:
        raise ConfigError(
            f"{deployment.where('model')}: {params['model']!r} names no provider that litellm knows; "
            "write provider/model, such as openai/gpt-4o."
        )
    return model, provider


def _understood_by(provider: str, model: str) -> frozenset[str]:
    config = ProviderConfigManager.get_provider_chat_config(model, LlmProviders(provider))
    own = {name for kind in type(config).__mro__ for name in getattr(kind, "__annotations__", ())}
    supported = set(config.get_supported_openai_params(model) or ()) if config else set()
    return frozenset(
        {name for name in own | supported if not name.startswith("_")}
        | set(GenericLiteLLMParams.model_fields)
        | set(DEFAULT_CHAT_COMPLETION_PARAM_VALUES)
        | _FOR_THE_ROUTER
        | _ALSO_UNDERSTOOD
    )


def _timeout(deployment: Deployment, params: Mapping[str, Any]) -> float:
    name = "stream_timeout" if "stream_timeout" in params else "timeout"
    given = params.get(name, SOCKET_SECONDS)
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = 0.0
    if isinstance(given, bool) or not 0 < seconds < float("inf"):
        raise ConfigError(
            f"{deployment.where(name)}: {name} of {deployment.alias!r} must be a number of seconds."
        )
    return seconds


def _prices(deployment: Deployment, params: Mapping[str, Any]) -> Mapping[str, float]:
    """The operator's own prices per token; empty if litellm's list shall be asked."""
    prices = {}
    for name in ("input_cost_per_token", "output_cost_per_token"):
        given = params.get(name, deployment.info.get(name))
        if given is None:
            continue
        try:
            prices[name] = float(given)
        except (TypeError, ValueError):
            raise ConfigError(
                f"{deployment.where(name)}: {name} of {deployment.alias!r} must be a number."
            ) from None
    return prices


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _texts(member)
