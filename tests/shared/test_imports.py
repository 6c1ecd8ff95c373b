"""Who may import whom (docs: map of the code), read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokentail

ROOT = Path(tokentail.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}

SHARED, API, WORKER = "tokentail.shared", "tokentail.api", "tokentail.worker"
CLIENT, CLI, STACK, DEMO = "tokentail.client", "tokentail.cli", "tokentail.stack", "tokentail.demo"


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def imported(name: str) -> Iterator[str]:
    """Everything a module imports, wherever in it, with what it takes from there."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(*packages: str) -> set[str]:
    """The modules that import from any of these."""
    return {name for name in MODULES if any(within(what, *packages) for what in imported(name))}


def outside(names: set[str], *packages: str) -> set[str]:
    return {name for name in names if not within(name, *packages)}


def test_the_reading_finds_imports_at_all() -> None:
    assert f"{SHARED}.queue" in importers("redis")
    assert f"{WORKER}.pool" in importers("arq")
    assert "tokentail" in importers(CLIENT)
    assert len(MODULES) > 50


def test_shared_imports_neither_side_nor_those_above() -> None:
    assert {
        name for name in importers(API, WORKER, CLIENT, CLI, STACK, DEMO) if within(name, SHARED)
    } == set()


def test_api_and_worker_never_import_each_other() -> None:
    assert {name for name in importers(WORKER) if within(name, API)} == set()
    assert {name for name in importers(API) if within(name, WORKER)} == set()


def test_only_the_entry_points_know_both_sides() -> None:
    assert outside(importers(WORKER), WORKER, CLI, STACK) == set()
    assert outside(importers(API), API, CLI, STACK) == set()


def test_the_client_stands_alone() -> None:
    allowed = (CLIENT, f"{SHARED}.cursor", f"{SHARED}.errors", f"{SHARED}.events", f"{SHARED}.fold")
    found = {
        what
        for name in MODULES
        if within(name, CLIENT)
        for what in imported(name)
        if within(what, "tokentail") and not within(what, "tokentail.__version__")
    }
    assert outside(found, *allowed) == set()


@pytest.mark.parametrize(
    ("library", "doors"),
    [
        ("litellm", [f"{WORKER}.model"]),
        ("openai", [f"{WORKER}.model"]),
        ("arq.worker", [WORKER]),
        ("fastapi", [API]),
        ("starlette", [API]),
        ("uvicorn", [API, DEMO]),
        ("prometheus_client", [API]),
        ("yaml", [f"{SHARED}.models"]),
        ("typer", [CLI]),
        ("redis", [SHARED, WORKER, API, STACK]),
    ],
)
def test_each_library_has_its_door(library: str, doors: list[str]) -> None:
    users = importers(library)
    assert users, f"nothing imports {library}: is its name still right?"
    assert outside(users, *doors) == set()


def test_the_litellm_import_itself_stands_in_one_module() -> None:
    assert importers("litellm") == {f"{WORKER}.model.door"}


def environment_readers() -> set[str]:
    return {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(a.name == "environ" for a in node.names)
        )
    }


def test_only_entry_points_read_the_environment() -> None:
    # litellm's door sets variables that must stand before the import; the client's defaults are documented.
    allowed = (
        CLI,
        STACK,
        CLIENT,
        f"{WORKER}.main",
        f"{WORKER}.model.door",
        f"{API}.server",
        f"{DEMO}.server",
    )
    assert outside(environment_readers(), *allowed) == set()


def module_level_calls(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            yield ast.unparse(node.value.func)


def test_no_module_makes_a_client_or_reads_settings_when_it_is_imported() -> None:
    made = {
        f"{name}: {call}"
        for name, tree in TREES.items()
        for call in module_level_calls(tree)
        if call.split(".")[-1]
        in {"Redis", "from_url", "client", "pool", "Client", "AsyncClient", "Settings", "load"}
    }
    assert made == set()


@pytest.mark.parametrize("name", ["cursor", "events", "fold", "job", "chat_request", "keys", "errors"])
def test_pure_modules_do_not_wait(name: str) -> None:
    tree = TREES[f"{SHARED}.{name}"]
    waiting = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(tree) if isinstance(node, waiting)]
    assert not [what for what in imported(f"{SHARED}.{name}") if within(what, "asyncio", "redis", "httpx")]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("tokentail.api.server", ["litellm", "openai", WORKER]),
        (
            "tokentail.client",
            ["redis", "pydantic", "fastapi", "starlette", "arq", "litellm", "uvicorn", "typer"],
        ),
        ("tokentail", ["httpx", "redis", "pydantic", "litellm"]),
        ("tokentail.cli", ["litellm", "openai"]),
        ("tokentail.worker.pool", ["fastapi", "starlette", "uvicorn", API]),
    ],
)
def test_importing_one_side_does_not_load_the_other(module: str, heavy: list[str]) -> None:
    # When a fresh interpreter imports it
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Then none of these came with it
    loaded = set(done.stdout.split())
    assert module in loaded
    assert loaded & set(heavy) == set()
