"""No kata's tests need another kata: what they import of one is given in its stub, or the reference's.

The engine lends the reference's to a solution, which may build on another kata.  A test isn't
lent anything: what it took from another kata would be the learner's stub, and a right answer red.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.curriculum.solutions import is_stub

ROOT = Path(__file__).resolve().parents[2]


def unwritten_names(stub: Path) -> set[str]:
    """The functions and classes of a stub in which something is left to write."""
    return {
        node.name
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and any(is_stub(part) for part in ast.walk(node) if isinstance(part, ast.FunctionDef))
    }


def needed(text: str, own: str, stubs: dict[str, Path]) -> Iterator[str]:
    """What a test file's text takes from other katas and is left to the learner there."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in stubs and alias.name != own)
        if isinstance(node, ast.ImportFrom) and node.module in stubs and node.module != own:
            left = unwritten_names(stubs[node.module])
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name in left)


def test_no_test_needs_another_kata():
    katas = open_dojo(ROOT).katas
    stubs = {kata.import_name: kata.stub for kata in katas}
    found = {
        kata.name: names
        for kata in katas
        if (names := list(needed(kata.test.read_text(encoding="utf-8"), kata.import_name, stubs)))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from katas.m.k01_a import work", ["katas.m.k01_a.work"]),
        ("def test():\n    from katas.m.k01_a import Given, Worker", ["katas.m.k01_a.Worker"]),
        ("import katas.m.k01_a", ["katas.m.k01_a"]),
        ("from katas.m.k01_a import Given", []),
        ("from katas.m.k02_b import work", []),
        ("from reference.m.k01_a import work", []),
    ],
)
def test_it_is_seen(line: str, found: list[str], tmp_path: Path):
    stub = tmp_path / "k01_a.py"
    stub.write_text(
        "def work():\n    raise NotImplementedError\n"
        "class Given:\n    size: int = 3\n"
        'class Worker:\n    def go(self):\n        """Goes."""\n        raise NotImplementedError\n'
    )
    stubs = {"katas.m.k01_a": stub, "katas.m.k02_b": stub}
    assert list(needed(line, "katas.m.k02_b", stubs)) == found
