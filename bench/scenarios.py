"""What the demo provider is asked to play: one alias per situation, the same for both sides."""

from __future__ import annotations

from collections.abc import Sequence

from bench.effort import Effort

#: The first token at once, the next ones 5 ms apart, so that the first is seen alone.
FIRST_TOKEN = "counted?tokens=8&pace_ms=5"
#: Ends as soon as it has begun.
SHORT = "counted?tokens=1"
#: In flight for as long as anything is measured, saying something every second.
IN_FLIGHT = "counted?tokens=900&pace_ms=1000"

MESSAGES = [{"role": "user", "content": "Why is the sky blue? Answer in two or three paragraphs."}]


def paced(effort: Effort) -> str:
    """About 30 tokens a second: what people see of large models."""
    return f"counted?tokens={effort.paced_tokens}&pace_ms=33"


def flat_out(effort: Effort) -> str:
    """As fast as the provider can write."""
    return f"counted?tokens={effort.flat_out_tokens}"


def compared(effort: Effort) -> list[str]:
    """All that tokentail and its peers are compared by."""
    return [FIRST_TOKEN, SHORT, IN_FLIGHT, paced(effort), flat_out(effort)]


def model_list(scenarios: Sequence[str]) -> str:
    """The `models.yaml` whose aliases are the scenarios' names."""
    entries = (
        f'  - model_name: "{scenario}"\n    litellm_params:\n      model: "openai/{scenario}"\n'
        "      api_base: os.environ/TOKENTAIL_DEMO_URL\n      api_key: demo\n"
        for scenario in scenarios
    )
    return "model_list:\n" + "".join(entries)
