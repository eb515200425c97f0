"""What each test runs of a reference: only a test that runs what a patch changes can end otherwise for it.

`tracing.py` sees it.  What a test runs in other processes than its ranks isn't seen:
a test of which nothing is seen counts as one that runs everything.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Unit:
    """A function or method of a reference: its first line (decorators included), its body's first, its last."""

    first: int
    body: int
    last: int


@dataclass
class Reach:
    """What the tests of one kata run of its reference, by the test's id.

    functions  the first lines of the functions that it runs
    calls      the functions, and methods as "Class.method", whose answers it gets
    lines      the lines that it runs; empty unless asked for
    spoilable  the pairs of a target and a spoil (a key of TRIVIAL or WRAPPED) where an answer can be spoiled;
               None where that isn't known
    """

    functions: dict[str, set[int]] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    lines: dict[str, set[int]] = field(default_factory=dict)
    spoilable: set[tuple[str, str]] | None = None

    def runs(self, test: str, units: list[Unit] | None) -> bool:
        """Whether the test may run one of the units; None are all."""
        seen = self.functions.get(test)
        if units is None or not seen:
            return True
        return any(unit.first <= line <= unit.last for unit in units for line in seen)

    def gets(self, test: str, target: str) -> bool:
        """Whether the test may get an answer of `target`."""
        return test not in self.calls or target in self.calls[test]

    def can_spoil(self, target: str, spoil: str) -> bool:
        return self.spoilable is None or (target, spoil) in self.spoilable


def units_of(source: str) -> list[Unit]:
    """The outermost functions of a source, methods among them."""
    found: list[Unit] = []

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found.append(Unit(first, node.body[0].lineno, node.end_lineno or node.lineno))
            elif isinstance(node, ast.ClassDef):
                visit(node.body)

    visit(ast.parse(source).body)
    return found


def changed_units(source: str, patched: str) -> list[Unit] | None:
    """The functions in whose bodies the two texts differ; None where they differ elsewhere, too."""
    units = units_of(source)
    found: list[Unit] = []
    for tag, start, end, _, _ in difflib.SequenceMatcher(
        None, source.splitlines(), patched.splitlines(), autojunk=False
    ).get_opcodes():
        if tag == "equal":
            continue
        # Lines count from 1; what is put in between two lines belongs where both of them do.
        lines = range(start + 1, end + 1) if end > start else range(start, start + 2)
        unit = next((u for u in units if u.body <= lines[0] and lines[-1] <= u.last), None)
        if unit is None:
            return None
        found.append(unit)
    return found
