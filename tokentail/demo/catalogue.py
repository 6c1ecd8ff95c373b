"""The scenarios: every model name that the demo provider knows, what it takes, and what it plays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tokentail.demo import answers, params, tool_calls
from tokentail.demo.errors import ProviderError
from tokentail.demo.params import Params
from tokentail.demo.steps import Script

#: How usage is reported to a client that asks for it: in a last chunk without choices (OpenAI) or with
#: one empty choice, or not at all.
UsageManner = Literal["no_choice", "one_choice", "never"]

_PACE = ("pace_ms", "first_ms", "head")
_COUNTED = ("tokens", *_PACE)
_BROKEN = ("after", *_PACE)
_TIMES = ("times", "again", "key")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A script with what surrounds it. `error`, when given, is answered in its place as long as `times`
    says; a request that has one of the body parameters in `refuses` is a bad one."""

    script: Script
    takes: tuple[str, ...] = _COUNTED
    defaults: dict[str, Any] = field(default_factory=dict)
    usage: UsageManner = "no_choice"
    refuses: tuple[str, ...] = ()
    error: Callable[[Params], ProviderError] | None = None


def choose(model: str) -> tuple[Scenario, Params]:
    """Find the scenario that a model string names and read its parameters.

    Raises ProviderError: 404 for an unknown scenario, 400 for a parameter it does not take.
    """
    name, _, query = model.partition("?")
    scenario = SCENARIOS.get(name)
    if scenario is None:
        # The names are not listed here: litellm classifies errors by their text, and would find among
        # them that it is being rate limited.
        message = f"The model {name!r} does not exist; GET /v1/models lists those that do."
        raise ProviderError(404, message, param="model", code="model_not_found")
    given = params.read(query, scenario.takes)
    return scenario, Params(**{"key": model} | scenario.defaults | given)


def _rate_limited(asked: Params) -> ProviderError:
    return ProviderError(
        429,
        "Rate limit reached for requests. Please try again later.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after_seconds=asked.retry_after,
    )


def _error_500(_: Params) -> ProviderError:
    return ProviderError(500, "The server had an error while processing your request.", kind="server_error")


def _overloaded(_: Params) -> ProviderError:
    return ProviderError(503, "The engine is overloaded. Please try again later.", kind="server_error")


def _bad_request(_: Params) -> ProviderError:
    return ProviderError(400, "Invalid value for 'temperature': above the maximum.", param="temperature")


def _unauthorized(_: Params) -> ProviderError:
    # Neither is real. They are here because real ones stand in real messages, and must not get further.
    message = (
        "Incorrect API key provided: sk-fake-0123456789abcdefghijklmnopqrstuv. You can find your API key "
        "at https://someone:password@provider.example/account/api-keys?token=fake-token."
    )
    return ProviderError(401, message, code="invalid_api_key")


SCENARIOS: dict[str, Scenario] = {
    # About 36 tokens a second: a brisk reader's pace.
    "demo": Scenario(answers.demo, _PACE, {"pace_ms": 28, "first_ms": 300}),
    "fast": Scenario(answers.demo, _PACE),
    "slow-first-token": Scenario(answers.counted, _COUNTED, {"first_ms": 3000, "pace_ms": 28}),
    "counted": Scenario(answers.counted),
    "long": Scenario(answers.counted, _COUNTED, {"tokens": 20_000}),
    "repeat": Scenario(answers.repeat, _COUNTED, {"tokens": 300}),
    "reasoning": Scenario(answers.reasoning, ("field", *_PACE)),
    "refusal": Scenario(answers.refusal, _PACE),
    # Tool calls
    "tool-call": Scenario(tool_calls.single, _PACE),
    "parallel-tool-calls": Scenario(tool_calls.parallel, _PACE),
    "interleaved-tool-calls": Scenario(tool_calls.interleaved, _PACE),
    "whole-tool-calls": Scenario(tool_calls.whole, _PACE),
    "same-index-tool-calls": Scenario(tool_calls.same_index, _PACE),
    "no-index-tool-calls": Scenario(tool_calls.no_index, _PACE),
    "no-id-tool-calls": Scenario(tool_calls.no_id, _PACE),
    "repeated-name-tool-calls": Scenario(tool_calls.repeated_name, _PACE),
    # Usage
    "usage-one-choice": Scenario(answers.counted, usage="one_choice"),
    "no-usage": Scenario(answers.counted, usage="never"),
    "refuses-stream-options": Scenario(answers.counted, refuses=("stream_options",)),
    # Endings that are not `stop`
    "length": Scenario(answers.length),
    "content-filter": Scenario(answers.content_filter, _BROKEN),
    # Errors before the first token
    "rate-limited": Scenario(answers.counted, (*_COUNTED, *_TIMES, "retry_after"), error=_rate_limited),
    "error-500": Scenario(answers.counted, (*_COUNTED, *_TIMES), error=_error_500),
    "overloaded": Scenario(answers.counted, (*_COUNTED, *_TIMES), error=_overloaded),
    "bad-request": Scenario(answers.counted, (), error=_bad_request),
    "unauthorized": Scenario(answers.counted, (), error=_unauthorized),
    # Trouble after it
    "error-mid-stream": Scenario(answers.error_mid_stream, _BROKEN),
    "cut": Scenario(answers.cut, _BROKEN),
    "truncated": Scenario(answers.truncated, ("done", *_BROKEN)),
    "broken-json": Scenario(answers.broken_json, _BROKEN),
    "hang": Scenario(answers.hang, ("comments", *_BROKEN)),
    "hang-first": Scenario(answers.hang, ("comments", "head"), {"after": 0}),
    # Under a test's control
    "wait": Scenario(answers.wait, ("gate", "after", *_COUNTED)),
}
