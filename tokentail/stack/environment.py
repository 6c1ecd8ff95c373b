"""What each process of the stack finds in its environment. Only workers get the providers' keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokentail.shared.models import ENVIRONMENT_REFERENCE, ModelList
from tokentail.shared.settings import PREFIX

#: Where litellm finds a key that the model list does not mention: OPENAI_API_KEY and its like.
_KEY_SUFFIXES = ("_API_KEY", "_SECRET_ACCESS_KEY", "_SESSION_TOKEN")


def referenced_names(models: ModelList) -> list[str]:
    """The environment variables that the model list refers to, each once, in its order."""
    names = (name for deployment in models for name in _references(deployment.params))
    return list(dict.fromkeys(names))


def without_keys(environment: Mapping[str, str], models: ModelList) -> dict[str, str]:
    """The environment less everything that opens a provider."""
    secret = {name for name in referenced_names(models) if not name.startswith(PREFIX)}
    return {
        name: value
        for name, value in environment.items()
        if name not in secret and not name.endswith(_KEY_SUFFIXES)
    }


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(ENVIRONMENT_REFERENCE):
        yield value.removeprefix(ENVIRONMENT_REFERENCE)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _references(part)
