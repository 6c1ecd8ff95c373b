"""Every setting is an option of a command, and says its default."""

from __future__ import annotations

import re
import subprocess

import pytest
from processes import TOKENTAIL

from tokentail.cli.setting_options import API, REDIS, SETTINGS, UP, WORKER
from tokentail.shared.settings import Settings


def test_every_setting_is_an_option_where_it_matters() -> None:
    assert SETTINGS.keys() == Settings.model_fields.keys()
    assert set(API) | set(WORKER) == SETTINGS.keys()
    assert set(UP) == SETTINGS.keys() - set(REDIS)


def test_the_help_tells_the_true_default() -> None:
    for name, field in Settings.model_fields.items():
        said = re.search(r"\[([^];]+)", SETTINGS[name][1])
        assert said, name
        if field.default is not None:
            number = isinstance(field.default, int | float)
            assert (float(said[1]) if number else said[1]) == field.default, name


@pytest.mark.parametrize("command", ["up", "api", "worker", "doctor", "demo-provider"])
def test_every_command_has_a_help_page(command: str) -> None:
    answer = subprocess.run([TOKENTAIL, command, "--help"], capture_output=True, text=True, check=True)

    assert "Usage:" in answer.stdout
