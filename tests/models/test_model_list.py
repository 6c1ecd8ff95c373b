"""The model file: what is read from it, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokentail.shared.errors import ConfigError
from tokentail.shared.models import ModelList

_GOOD = """\
model_list:
  - model_name: fast
    litellm_params: &defaults
      model: openai/gpt-4o-mini
      api_key: os.environ/OPENAI_API_KEY
  - model_name: smart
    litellm_params:
      model: azure/gpt-4o
  - model_name: fast
    litellm_params: {<<: *defaults, model: groq/llama}
litellm_settings:
  drop_params: true
general_settings: {}
"""


def _load(folder: Path, text: str) -> ModelList:
    path = folder / "models.yaml"
    path.write_text(text)
    return ModelList.load(path)


def test_aliases_come_in_the_files_order(tmp_path: Path) -> None:
    models = _load(tmp_path, _GOOD)
    assert models.aliases == ("fast", "smart")
    assert "fast" in models
    assert "openai/gpt-4o-mini" not in models


def test_entries_of_one_name_are_deployments_of_one_alias(tmp_path: Path) -> None:
    first, second = _load(tmp_path, _GOOD).deployments("fast")
    assert first.params["model"] == "openai/gpt-4o-mini"
    # A reference stays as it is written, also where it comes from an anchor.
    assert second.params == {"model": "groq/llama", "api_key": "os.environ/OPENAI_API_KEY"}


def test_a_deployment_knows_where_it_is_written(tmp_path: Path) -> None:
    first, second = _load(tmp_path, _GOOD).deployments("fast")
    assert first.where("api_key") == f"{tmp_path}/models.yaml:5"
    assert second.where() == f"{tmp_path}/models.yaml:9"
    assert second.where("not_there") == second.where()


def test_the_proxys_other_sections_are_accepted_and_reported(tmp_path: Path) -> None:
    models = _load(tmp_path, _GOOD + "router_settings: {num_retries: 3}\n")
    assert models.ignored_sections == ("litellm_settings", "general_settings", "router_settings")


def test_an_entrys_unknown_keys_are_accepted_and_reported(tmp_path: Path) -> None:
    text = "model_list: [{model_name: a, litellm_params: {model: openai/a}, rpm: 3}]"
    assert _load(tmp_path, text).ignored_sections == ("model_list.rpm",)


@pytest.mark.parametrize(("second", "allowed"), [("true", True), ("false", False), (None, False)])
def test_image_urls_are_allowed_only_if_every_deployment_allows_them(
    tmp_path: Path, second: str | None, allowed: bool
) -> None:
    info = f", model_info: {{allow_image_urls: {second}}}" if second else ""
    models = _load(
        tmp_path,
        "model_list:\n"
        "- {model_name: a, litellm_params: {model: openai/a}, model_info: {allow_image_urls: true}}\n"
        f"- {{model_name: a, litellm_params: {{model: openai/b}}{info}}}\n",
    )
    assert models.allows_image_urls("a") is allowed


def test_the_packaged_demo_list_has_a_model_called_demo() -> None:
    models = ModelList.load(ModelList.demo_path())
    assert "demo" in models
    assert models.ignored_sections == ()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "the file is empty"),
        ("- a\n", 1, "must be a mapping with a model_list"),
        ("other: 1\n", 1, "there is no model_list"),
        ("\nmodel_list: {}\n", 2, "must be a list"),
        ("model_list: []\n", 1, "is empty"),
        ("model_list:\n- just-a-name\n", 2, "must be a mapping with model_name"),
        ("model_list:\n- litellm_params: {model: openai/a}\n", 2, "no model_name"),
        ("model_list:\n- model_name: ''\n  litellm_params: {model: openai/a}\n", 2, "not empty"),
        ("model_list:\n- model_name: 4\n  litellm_params: {model: openai/a}\n", 2, "must be a text"),
        ("model_list:\n- litellm_params: {model: a}\n  model_name: openai/*\n", 3, "wildcard"),
        ("model_list:\n- model_name: a\n  litellm_params: {model: openai/*}\n", 3, "wildcard"),
        ("model_list:\n- model_name: a\n", 2, "'a' has no litellm_params"),
        ("model_list:\n- model_name: a\n  litellm_params: openai/a\n", 3, "must be a mapping"),
        ("model_list:\n- model_name: a\n  litellm_params: {api_key: b}\n", 3, "has no model"),
        ("model_list:\n- model_name: a\n  litellm_params:\n    model: 7\n", 4, "must be a text such as"),
        ("model_list:\n- model_name: a\n  litellm_params:\n    1: 7\n", 4, "must be text"),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: a\n    model: b\n",
            5,
            "'model' is given twice",
        ),
        ("model_list: []\nmodel_list: []\n", 2, "'model_list' is given twice"),
        (
            "model_list:\n- model_name: a\n  litellm_params: {model: a}\n  model_info: 3\n",
            4,
            "must be a mapping",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params: {model: a}\n"
            "  model_info:\n    allow_image_urls: 'yes'\n",
            5,
            "must be true or false",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: a\n    weight: -1\n",
            5,
            "not negative",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: a\n    weight: x\n",
            5,
            "must be a number",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: a\n    api_key: os.environ/\n",
            5,
            "no variable",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: a\n    k: &k [*k]\n",
            5,
            "contains itself",
        ),
        (
            "model_list:\n- model_name: a\n  litellm_params:\n    model: a\n    k: !!python/name:os.system\n",
            5,
            "tag",
        ),
        ("model_list:\n- model_name: a\n  litellm_params: {model: a\n", 4, "not valid YAML"),
        ("model_list:\n\t- a\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 1\n", 2, "not valid YAML"),
    ],
)
def test_a_mistake_is_refused_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/models.yaml:{line}: ")
    assert says in message
    assert "\n" not in message


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml can't be read: No such file"):
        ModelList.load(tmp_path / "nowhere.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        ModelList.load(tmp_path / "models.yaml")
