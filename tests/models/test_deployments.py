"""From a model list to deployments that can be called, and the order in which jobs call them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from asking import Provider, Serve, ask, write_list
from hypothesis import given
from hypothesis import strategies as st

from tokentail.shared.errors import ConfigError
from tokentail.worker.model import Models
from tokentail.worker.model.deployments import Route, in_order, make_route


def _route(folder: Path, environ: dict[str, str] | None = None, **params: Any) -> Route:
    entry = {"model_name": "it", "litellm_params": {"model": "openai/gpt-4o", **params}}
    return make_route(write_list(folder, [entry]).deployments("it")[0], environ or {})


def _routes(*weights: float) -> list[Route]:
    return [Route("it", "openai", f"m{n}", w, {}, {}, ()) for n, w in enumerate(weights)]


def test_references_are_resolved_wherever_they_stand(tmp_path: Path) -> None:
    route = _route(
        tmp_path,
        {"KEY": "the-key", "TEAM": "blue"},
        api_key="os.environ/KEY",
        extra_headers={"x-team": "os.environ/TEAM"},
    )
    assert route.params["api_key"] == "the-key"
    assert route.params["extra_headers"] == {"x-team": "blue"}


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_variable_that_is_not_set_is_named_with_its_line(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"models\.yaml:3: api_key of 'it' .* KEY, which is not set\.$"):
        _route(tmp_path, environ, api_key="os.environ/KEY")


def test_a_worker_that_has_no_model_list_is_told_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Set TOKENTAIL_MODELS .* `tokentail demo-provider`"):
        _route(tmp_path, {}, api_base="os.environ/TOKENTAIL_DEMO_URL")


@pytest.mark.parametrize("model", ["nowhere/x", "just-a-name"])
def test_a_model_of_no_known_provider_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.yaml:3: .* names no provider that litellm knows"):
        _route(tmp_path, model=model)


@pytest.mark.parametrize("name", ["temprature", "stream", "n", "messages", "functions", "mock_response"])
def test_a_parameter_that_would_end_up_in_the_providers_body_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"models\.yaml:\d+: litellm_params\.{name} of 'it' is not"):
        _route(tmp_path, **{name: 1})


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (
            "openai/gpt-4o",
            {"organization": "o", "temperature": 1, "extra_body": {"x": 1}, "weight": 2, "rpm": 5},
        ),
        ("azure/gpt-4o", {"api_version": "2024-10-21", "api_base": "https://x", "azure_ad_token": "t"}),
        ("anthropic/claude-sonnet-4-5", {"top_k": 5, "thinking": {"type": "enabled"}}),
        ("bedrock/anthropic.claude-v2", {"aws_region_name": "eu-west-1", "aws_access_key_id": "a"}),
        ("vertex_ai/gemini-2.5-pro", {"vertex_project": "p", "vertex_location": "l"}),
        ("ollama_chat/llama3", {"num_ctx": 4096, "api_base": "http://x"}),
        ("hosted_vllm/llama", {"drop_params": True, "stream_options": {"include_usage": False}}),
    ],
)
def test_what_people_write_for_their_providers_is_understood(
    tmp_path: Path, model: str, params: dict[str, Any]
) -> None:
    assert _route(tmp_path, model=model, **params).provider == model.split("/", maxsplit=1)[0]


@pytest.mark.parametrize("timeout", ["long", True, 0, -1, [1]])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(tmp_path: Path, timeout: Any) -> None:
    with pytest.raises(ConfigError, match="timeout of 'it' must be a number of seconds"):
        _route(tmp_path, timeout=timeout)


def test_keys_are_known_as_secrets_and_never_shown(tmp_path: Path) -> None:
    route = _route(
        tmp_path, {"KEY": "from-environment"}, api_key="os.environ/KEY", azure_ad_token="written-out"
    )
    assert set(route.secrets) == {"from-environment", "written-out"}
    assert "from-environment" not in repr(route)
    assert "written-out" not in repr(route)


def test_a_job_has_the_same_order_on_every_worker() -> None:
    orders = {tuple(r.model for r in in_order(_routes(1, 1, 1, 1), "job_7")) for _ in range(5)}
    assert len(orders) == 1


@given(job_id=st.text(), weights=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_every_deployment_has_its_turn(job_id: str, weights: list[float]) -> None:
    routes = _routes(*weights)
    ordered = in_order(routes, job_id)
    assert sorted(r.model for r in ordered) == sorted(r.model for r in routes)
    # Those without weight only when the others have had theirs.
    assert [bool(r.weight) for r in ordered] == sorted((bool(r.weight) for r in routes), reverse=True)


def test_jobs_spread_over_deployments_by_weight() -> None:
    routes = _routes(3, 1)
    first = Counter(in_order(routes, f"job_{n}")[0].model for n in range(4000))
    assert 2850 < first["m0"] < 3150


@pytest.mark.asyncio(loop_scope="session")
async def test_each_attempt_goes_to_the_next_deployment(serve: Serve, provider: Provider) -> None:
    # Given an alias with three deployments, when a job is attempted four times,
    models = serve("counted?tokens=1", "counted?tokens=2", "counted?tokens=3")
    tokens = [len((await ask(models, attempt=attempt)).deltas) for attempt in (1, 2, 3, 4)]
    # Then each has its turn before the first is asked again.
    assert sorted(tokens[:3]) == [1, 2, 3]
    assert tokens[3] == tokens[0]


@pytest.mark.asyncio(loop_scope="session")
async def test_whether_there_is_another_deployment_is_known(serve: Serve) -> None:
    assert serve("fast", "demo").has_other("it")
    assert not serve("fast").has_other("it")


def test_every_model_of_a_list_is_checked_at_the_start(tmp_path: Path) -> None:
    good = {"model_name": "good", "litellm_params": {"model": "openai/a"}}
    bad = {"model_name": "bad", "litellm_params": {"model": "openai/a", "api_key": "os.environ/NOPE"}}
    with pytest.raises(ConfigError, match="NOPE"):
        Models(write_list(tmp_path, [good, bad]), {})
