"""Counted where the provider counts, estimated where not; priced only where the price is known."""

from __future__ import annotations

from typing import Any

import pytest

from tokentail.shared.events import Usage
from tokentail.worker.model.deployments import Route
from tokentail.worker.model.usage import cost, counted, estimated

_COUNT = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def _route(model: str, **prices: float) -> Route:
    return Route("it", "openai", model, 1, {}, prices, ())


def _cost(route: Route, usage: dict[str, Any] = _COUNT) -> float | None:
    known = counted([usage])
    assert known is not None
    return cost(route, [usage], known)


def test_a_count_in_two_halves_is_one_count() -> None:
    # Given a provider that counts the prompt at the start and the answer at the end
    halves = [{"prompt_tokens": 10, "completion_tokens": 1}, {"prompt_tokens": 0, "completion_tokens": 5}]
    assert counted(halves) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "source": "provider",
    }


@pytest.mark.parametrize(
    "usages", [[], [{}], [{"prompt_tokens": 0, "completion_tokens": 0}], [{"prompt_tokens": None}]]
)
def test_a_count_of_nothing_is_no_count(usages: list[Any]) -> None:
    assert counted(usages) is None


def test_a_known_model_has_a_price() -> None:
    assert _cost(_route("gpt-4o-mini")) == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)


def test_cached_tokens_are_cheaper() -> None:
    cached = _COUNT | {"prompt_tokens_details": {"cached_tokens": 800}}
    full, less = _cost(_route("gpt-4o-mini")), _cost(_route("gpt-4o-mini"), cached)
    assert full is not None
    assert less is not None
    assert less < full


def test_an_unknown_model_has_no_price_rather_than_none_to_pay() -> None:
    assert _cost(_route("a-model-of-my-own")) is None


def test_the_operators_own_prices_win() -> None:
    route = _route("gpt-4o-mini", input_cost_per_token=1.0, output_cost_per_token=2.0)
    assert _cost(route) == 1200.0


def test_a_model_that_costs_nothing_can_be_said_to() -> None:
    assert _cost(_route("a-model-of-my-own", input_cost_per_token=0.0, output_cost_per_token=0.0)) == 0.0


def test_an_estimate_is_not_priced() -> None:
    guess: Usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18, "source": "estimated"}
    assert cost(_route("gpt-4o-mini", input_cost_per_token=1.0, output_cost_per_token=2.0), [], guess) is None


def test_a_price_of_nothing_in_litellms_list_is_an_unknown_one() -> None:
    route = Route("it", "codestral", "codestral-latest", 1, {}, {}, ())
    assert _cost(route) is None


def test_an_estimate_counts_prompt_images_tools_and_answer() -> None:
    text = {"role": "user", "content": "four" * 100}
    image = {"type": "image_url", "image_url": {"url": "data:" + "A" * 1_000_000}}
    plain = estimated({"messages": [text]}, 0, 0)["prompt_tokens"]
    assert 90 <= plain <= 120
    # An image's bytes are not its tokens.
    with_image = {"role": "user", "content": [{"type": "text", "text": "four" * 100}, image]}
    assert plain < estimated({"messages": [with_image]}, 0, 0)["prompt_tokens"] < plain + 1000
    with_tools = {"messages": [text], "tools": [{"function": {"name": "f", "description": "x" * 400}}]}
    assert estimated(with_tools, 0, 0)["prompt_tokens"] > plain + 90
    assert estimated({"messages": [text]}, 400, 10)["completion_tokens"] == 100
    assert estimated({"messages": [text]}, 4, 10)["completion_tokens"] == 10
