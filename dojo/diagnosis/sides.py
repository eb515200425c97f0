"""Whose are the two sides of a failed comparison?

A test may compare two answers of the learner's: encode and decode, one function
with another.  Then neither is the expected one.  Read from the test's text: a side
is the learner's where it holds a call into the kata, or a name that was assigned
from one; and it is no expected side where the reference's run has another value there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

COMPARE = {"assert_close", "assert_equal", "allclose", "array_equal", "equal"}
WIDTH = 60


@dataclass(frozen=True)
class Sides:
    """The two sides as the test writes them, and whether the learner's code had a hand in each."""

    actual: str
    expected: str
    own_actual: bool
    own_expected: bool

    @property
    def both_own(self) -> bool:
        return self.own_actual and self.own_expected


def sides_at(test_file: Path, line: int | None, names: set[str]) -> Sides | None:
    """The sides of the comparison that stands on `line` of the test file; None where none does.

    names  those under which the file knows the kata's functions and classes
    """
    tree = _tree(test_file)
    if tree is None or line is None:
        return None
    function = _innermost(tree, line)
    pair = _pair(function or tree, line)
    if pair is None:
        return None
    own = set(names)
    for node in ast.walk(function) if function is not None else ():
        _spread(node, own, line)
    actual, expected = pair
    return Sides(_short(actual), _short(expected), _is_own(actual, own), _is_own(expected, own))


@lru_cache(maxsize=8)
def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _innermost(tree: ast.Module, line: int) -> ast.FunctionDef | None:
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    return max(around, key=lambda node: node.lineno, default=None)


def _pair(within: ast.AST, line: int) -> tuple[ast.expr, ast.expr] | None:
    found: list[tuple[ast.expr, ast.expr]] = []
    for node in ast.walk(within):
        if not isinstance(node, ast.Call | ast.Assert) or not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        if isinstance(node, ast.Call) and _called(node) in COMPARE and len(node.args) >= 2:
            found.append((node.args[0], node.args[1]))
        elif isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare) and len(node.test.comparators) == 1:
            found.append((node.test.left, node.test.comparators[0]))
    return found[-1] if found else None


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def kata_names(test_module: ModuleType, kata_import: str) -> set[str]:
    """The names under which a test module knows the kata, or something of it."""
    return {
        name
        for name, value in vars(test_module).items()
        if getattr(value, "__module__", None) == kata_import
        or (isinstance(value, ModuleType) and value.__name__ == kata_import)
    }


def _spread(node: ast.AST, own: set[str], line: int) -> None:
    """Names that are assigned from the learner's before `line` are the learner's, too."""
    if isinstance(node, ast.Assign) and node.lineno <= line:
        if _is_own(node.value, own):
            own.update(name for target in node.targets for name in _names(target))
    elif isinstance(node, ast.For) and _is_own(node.iter, own):
        own.update(_names(node.target))


def _names(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _is_own(side: ast.expr, own: set[str]) -> bool:
    return any(isinstance(node, ast.Name) and node.id in own for node in ast.walk(side))


def _short(side: ast.expr) -> str:
    text = ast.unparse(side)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 2]} …"


def helpers(test_module: ModuleType) -> set[str]:
    """The classes that a test file defines for itself."""
    return {
        name
        for name, value in vars(test_module).items()
        if isinstance(value, type) and value.__module__ == test_module.__name__ and not name.startswith("Test")
    }
