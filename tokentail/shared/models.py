"""The model list: which aliases a client may name, and the deployments behind each.

The file is the LiteLLM proxy's own `model_list`, so an operator can bring the one they have. Both sides
read it: the API to know the aliases, the worker to call the providers. Nothing here resolves a secret or
knows litellm; an `os.environ/NAME` reference stays text until the worker turns it into a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from tokentail.shared.errors import ConfigError

#: How litellm writes "take this value from the environment".
ENVIRONMENT_REFERENCE = "os.environ/"

_ENTRY_KEYS = frozenset({"model_name", "litellm_params", "model_info"})


@dataclass(frozen=True, slots=True)
class Deployment:
    """One way to reach an alias's model. `params` is the entry's `litellm_params` as written, references
    unresolved; `info` its `model_info`. The lines are for messages to the operator."""

    alias: str
    params: Mapping[str, Any]
    info: Mapping[str, Any]
    path: Path
    line: int
    param_lines: Mapping[str, int] = field(repr=False)

    def where(self, param: str | None = None) -> str:
        """`models.yaml:12`: where this deployment, or one of its parameters, is written."""
        return f"{self.path}:{self.param_lines.get(param, self.line) if param else self.line}"


class ModelList:
    """The aliases of one model file in their order, each with at least one deployment. Read only."""

    def __init__(self, deployments: tuple[Deployment, ...], ignored_sections: tuple[str, ...] = ()) -> None:
        by_alias: dict[str, tuple[Deployment, ...]] = {}
        for deployment in deployments:
            by_alias[deployment.alias] = (*by_alias.get(deployment.alias, ()), deployment)
        self._by_alias = by_alias
        #: Parts of the file that the LiteLLM proxy would act on and tokentail does not; worth a log line.
        self.ignored_sections = ignored_sections

    @classmethod
    def load(cls, path: Path) -> ModelList:
        """Read a model file. Raises ConfigError with a sentence that begins with `file:line:`."""
        return _Reader(path).read()

    @staticmethod
    def demo_path() -> Path:
        """The packaged list whose models are the demo provider's scenarios."""
        return Path(__file__).resolve().parent.parent / "demo" / "models.yaml"

    @property
    def aliases(self) -> tuple[str, ...]:
        """What a client may write as `model`, in the file's order."""
        return tuple(self._by_alias)

    def __contains__(self, alias: object) -> bool:
        return alias in self._by_alias

    def __iter__(self) -> Iterator[Deployment]:
        """Every deployment, alias by alias."""
        for deployments in self._by_alias.values():
            yield from deployments

    def deployments(self, alias: str) -> tuple[Deployment, ...]:
        """The deployments of a known alias, in the file's order."""
        return self._by_alias[alias]

    def allows_image_urls(self, alias: str) -> bool:
        """Whether a client may send image URLs to this alias. All its deployments must say so, because
        any of them may get the job, and some make the worker itself fetch the URL."""
        return all(d.info.get("allow_image_urls") is True for d in self._by_alias[alias])


class _Reader:
    """Walks the YAML node tree rather than plain values, because only nodes know their lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loader: yaml.SafeLoader
        self._ignored: list[str] = []

    def read(self) -> ModelList:
        root = self._compose()
        if root is None:
            self._refuse(None, "the file is empty; it needs a model_list")
        sections = self._mapping(root, "the file must be a mapping with a model_list")
        entries = sections.pop("model_list", None)
        if entries is None:
            self._refuse(root, "there is no model_list")
        self._ignored += sections
        if not isinstance(entries, yaml.SequenceNode):
            self._refuse(entries, "model_list must be a list of models")
        if not entries.value:
            self._refuse(entries, "model_list is empty; name at least one model")
        deployments = tuple(self._deployment(entry) for entry in entries.value)
        return ModelList(deployments, tuple(dict.fromkeys(self._ignored)))

    def _compose(self) -> yaml.Node | None:
        try:
            self._loader = yaml.SafeLoader(self._path.read_text(encoding="utf-8"))
            root: yaml.Node | None = self._loader.get_single_node()
        except OSError as error:
            raise ConfigError(f"The model list {self._path} can't be read: {error.strerror}.") from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{self._path}:{line}: not valid YAML: {error.problem}.") from None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise ConfigError(f"{self._path}:1: not valid YAML: the file is not UTF-8 text.") from None
        if root is not None:
            self._check_tree(root, ())
        return root

    def _check_tree(self, node: yaml.Node, above: tuple[yaml.Node, ...]) -> None:
        """Refuse what YAML lets pass in silence: of two equal keys it would take the last."""
        if node in above:
            self._refuse(node, "an anchor contains itself")
        if isinstance(node, yaml.SequenceNode):
            for child in node.value:
                self._check_tree(child, (*above, node))
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    self._refuse(key, f"{key.value!r} is given twice")
                if isinstance(key, yaml.ScalarNode):
                    seen.add(key.value)
                self._check_tree(value, (*above, node))

    def _deployment(self, entry: yaml.Node) -> Deployment:
        fields = self._mapping(entry, "each model must be a mapping with model_name and litellm_params")
        self._ignored += [f"model_list.{name}" for name in fields if name not in _ENTRY_KEYS]
        alias = self._alias(entry, fields)
        if "litellm_params" not in fields:
            self._refuse(entry, f"model {alias!r} has no litellm_params")
        params = self._mapping(fields["litellm_params"], f"litellm_params of {alias!r} must be a mapping")
        self._check_params(alias, fields["litellm_params"], params)
        info = (
            self._mapping(fields["model_info"], "model_info must be a mapping")
            if "model_info" in fields
            else {}
        )
        allow = info.get("allow_image_urls")
        if allow is not None and not isinstance(self._value(allow), bool):
            self._refuse(allow, "allow_image_urls must be true or false")
        return Deployment(
            alias=alias,
            params=MappingProxyType({name: self._value(node) for name, node in params.items()}),
            info=MappingProxyType({name: self._value(node) for name, node in info.items()}),
            path=self._path,
            line=_line(entry),
            param_lines=MappingProxyType({name: _line(node) for name, node in params.items()}),
        )

    def _alias(self, entry: yaml.Node, fields: dict[str, yaml.Node]) -> str:
        if "model_name" not in fields:
            self._refuse(entry, "a model has no model_name")
        alias = self._value(fields["model_name"])
        if not isinstance(alias, str) or not alias.strip():
            self._refuse(fields["model_name"], "model_name must be a text that is not empty")
        if "*" in alias:
            # Aliases are the allowlist of what clients may reach; a wildcard would be none.
            self._refuse(
                fields["model_name"], f"wildcard names like {alias!r} are not served; name each model"
            )
        return alias

    def _check_params(self, alias: str, at: yaml.Node, params: dict[str, yaml.Node]) -> None:
        if "model" not in params:
            self._refuse(at, f"litellm_params of {alias!r} has no model")
        model = self._value(params["model"])
        if not isinstance(model, str) or not model.strip():
            self._refuse(params["model"], f"model of {alias!r} must be a text such as openai/gpt-4o")
        if "*" in model:
            self._refuse(params["model"], f"wildcard models like {model!r} are not served; name each model")
        weight = self._value(params["weight"]) if "weight" in params else 1
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            self._refuse(params["weight"], f"weight of {alias!r} must be a number that is not negative")
        for name, node in params.items():
            if isinstance(node, yaml.ScalarNode) and node.value.strip() == ENVIRONMENT_REFERENCE:
                self._refuse(node, f"{name} of {alias!r} names no variable after {ENVIRONMENT_REFERENCE}")

    def _mapping(self, node: yaml.Node, otherwise: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._refuse(node, otherwise)
        self._loader.flatten_mapping(node)  # Resolves `<<: *defaults`, which model files are fond of.
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                self._refuse(key, "names on the left of a colon must be text")
            fields[key.value] = value
        return fields

    def _value(self, node: yaml.Node) -> Any:
        try:
            return self._loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self._refuse(node, f"not a plain value: {getattr(error, 'problem', None) or error}")

    def _refuse(self, node: yaml.Node | None, sentence: str) -> NoReturn:
        raise ConfigError(f"{self._path}:{_line(node) if node else 1}: {sentence}.")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
