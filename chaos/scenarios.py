"""What jobs ask the demo provider for, and how each kind may end when nothing else goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from tokentail.demo.catalogue import choose
from tokentail.demo.steps import Ask, Finish

#: How the ending reads after the last of several tries.
EXHAUSTED = "attempts_exhausted"


@dataclass(frozen=True)
class Scenario:
    """An alias of the model list, and the promises that hold for its jobs."""

    alias: str
    #: As the demo provider spells it.
    model: str
    #: Whether the provider, left alone, says all of it.
    completes: bool = True
    #: With which codes a job may fail although nobody broke anything.
    codes: frozenset[str] = frozenset()
    #: Its share of the load.
    weight: int = 1


def _failing(alias: str, model: str, *codes: str) -> Scenario:
    return Scenario(alias, model, completes=False, codes=frozenset({*codes, EXHAUSTED}))


#: `flaky` and `rate-limited` fail every second request, whosever it is, so an unlucky job meets three in a
#: row. The two that always fail at once would cost the run time if they were many.
SCENARIOS: dict[str, Scenario] = {
    scenario.alias: scenario
    for scenario in (
        Scenario("quick", "counted?tokens=20", weight=8),
        Scenario("steady", "counted?tokens=100&pace_ms=20", weight=10),
        Scenario("slow-first", "slow-first-token?first_ms=1000&tokens=30&pace_ms=20", weight=4),
        Scenario("long", "counted?tokens=1500&pace_ms=2", weight=2),
        Scenario("tool-calls", "parallel-tool-calls?pace_ms=30", weight=3),
        Scenario("whole-calls", "whole-tool-calls?first_ms=200", weight=1),
        Scenario(
            "flaky", "error-500?times=1&again=1&tokens=20&pace_ms=20", codes=frozenset({EXHAUSTED}), weight=2
        ),
        Scenario(
            "rate-limited",
            "rate-limited?times=1&again=1&retry_after=0.5&tokens=20&pace_ms=20",
            codes=frozenset({EXHAUSTED}),
            weight=2,
        ),
        _failing("cut", "cut?after=5&pace_ms=20", "provider_error", "provider_truncated"),
        _failing("truncated", "truncated?after=5&pace_ms=20", "provider_truncated"),
        _failing("error-mid-stream", "error-mid-stream?after=5&pace_ms=20", "provider_error"),
        _failing("broken-json", "broken-json?after=5&pace_ms=20", "provider_error", "provider_truncated"),
        _failing("error-500", "error-500"),
        _failing("overloaded", "overloaded"),
        _failing("hang", "hang?after=3", "idle_timeout"),
        _failing("hang-first", "hang-first", "first_token_timeout"),
        _failing("bad-request", "bad-request", "provider_rejected"),
    )
}


def model_list() -> str:
    """The `models.yaml` whose aliases are the scenarios."""
    entries = (
        f"  - model_name: {one.alias}\n    litellm_params:\n      model: openai/{one.model}\n"
        "      api_base: os.environ/TOKENTAIL_DEMO_URL\n      api_key: demo\n"
        for one in SCENARIOS.values()
    )
    return "model_list:\n" + "".join(entries)


@dataclass(frozen=True)
class Answer:
    """What the provider says under one nonce, as our own delta events, and why it stops (None: it breaks
    off)."""

    deltas: tuple[dict[str, Any], ...]
    finish_reason: str | None


#: More than any scenario here says.
_MOST_TOKENS = 10_000


@lru_cache(maxsize=256)
def answer(model: str, nonce: str) -> Answer:
    """Ask the demo provider's own script what it says: a missing, doubled or foreign token shows.

    `model` as the demo provider spells it. Raises ProviderError for what it does not know.
    """
    scenario, params = choose(model)
    steps = list(islice(scenario.script(Ask(nonce, "", params)), _MOST_TOKENS))
    finish = next((step.reason for step in steps if isinstance(step, Finish)), None)
    return Answer(tuple(_delta(step) for step in steps if isinstance(step, dict)), finish)


def _delta(step: dict[str, Any]) -> dict[str, Any]:
    parts = [_part(part) for part in step.get("tool_calls", ())]
    return {"type": "delta", **step, **({"tool_calls": parts} if parts else {})}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    whole = {"index": part["index"], "id": part.get("id"), **part["function"]}
    return dict(_given(whole))


def _given(members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in members.items() if value is not None)
