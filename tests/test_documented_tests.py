"""What the documents say is tested, is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

MENTION = re.compile(r"\b(test_\w+\.py)(?:::(\w+))?")


def names_in(name: str) -> set[str]:
    """The functions of a test file, wherever it is; no two files have the same name."""
    paths = list(TESTS.rglob(name))
    assert len(paths) == 1, f"{name} is there {len(paths)} times"
    tree = ast.parse(paths[0].read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_that_a_document_names_is_there(document: Path) -> None:
    for file, name in MENTION.findall(document.read_text()):
        names = names_in(file)
        assert not name or name in names, f"{document.name} names {file}::{name}, which is not there"


def test_every_guard_names_a_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    section = text.partition("\n## Guards\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    guards = [row for row in rows if not row.startswith("| guard |")]
    assert guards
    assert [row for row in guards if "::test_" not in row] == []
