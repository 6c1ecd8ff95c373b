"""The model list that comes with the demo provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tokentail.demo import provider
from tokentail.demo.catalogue import choose

MODELS = yaml.safe_load((Path(provider.__file__).parent / "models.yaml").read_text())["model_list"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["model_name"])
def test_every_alias_names_a_scenario_with_parameters_that_it_takes(model: dict[str, Any]) -> None:
    params = model["litellm_params"]
    assert params["api_base"] == "os.environ/TOKENTAIL_DEMO_URL"
    maker, _, name = params["model"].partition("/")
    assert maker == "openai"
    choose(name)


def test_one_alias_is_called_demo() -> None:
    assert "demo" in [model["model_name"] for model in MODELS]
