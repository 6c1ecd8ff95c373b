"""The locks: complete, hashed, and without a word about where the packages come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
LOCKS = ["runtime.txt", "dev.txt"]


def pins(name: str) -> dict[str, str]:
    """Package → version, of one lock."""
    found = re.findall(r"^([a-z0-9._-]+)==(\S+)", (REQUIREMENTS / name).read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_with_its_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[a-z0-9])", (REQUIREMENTS / lock).read_text(), flags=re.MULTILINE)[1:]

    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+ ", entry), entry
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_an_index(lock: str) -> None:
    text = (REQUIREMENTS / lock).read_text()

    assert "://" not in text
    assert not re.search(r"^--?(i|f|index-url|extra-index-url|find-links|trusted-host)\b", text, re.MULTILINE)


def test_the_tests_run_on_what_servers_run_on() -> None:
    assert pins("runtime.txt").items() <= pins("dev.txt").items()


@pytest.mark.parametrize("lock", LOCKS)
def test_each_lock_has_what_it_was_made_from(lock: str) -> None:
    source = (REQUIREMENTS / lock).with_suffix(".in").read_text()
    wanted = re.findall(r"^([a-z0-9][a-z0-9._-]*)", source, re.MULTILINE)

    assert wanted
    assert set(wanted) <= pins(lock).keys()


def test_the_malicious_releases_of_litellm_stay_out() -> None:
    assert pins("runtime.txt")["litellm"] not in {"1.82.7", "1.82.8"}
