"""What each test runs of a reference: only a test that runs what a patch changes can end otherwise for it.

Every test is run once more on the reference, on a module that is made anew for
it, so that no cache hides a call.  What its ranks run is carried back; what a test
runs in other processes isn't seen: a test of which nothing is seen counts as one
that runs everything.
"""

from __future__ import annotations

import ast
import difflib
import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dojo.checks.replay import become_quiet, replay
from dojo.curriculum.katas import Kata
from dojo.curriculum.solutions import public_names
from dojo.curriculum.swap import module_from_source, swap_in
from dojo.proofs.carried import carrying
from dojo.proofs.wrong_on_purpose import APPLIES, TRIVIAL, WRAPPED, noting, targets, view_of, wrap

if TYPE_CHECKING:
    from dojo.proofs.session import ProofSession

SPOILS = TRIVIAL | WRAPPED


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
    spoilable  the pairs of a target and a spoil (a key of SPOILS) where an answer can be spoiled;
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


def record(session: ProofSession, kata: Kata, with_lines: bool) -> Reach:
    """Run every test of the kata and see what it reaches.  For a forked child: nothing is put back."""
    become_quiet(session.config)
    source = kata.reference.read_text(encoding="utf-8")
    reach = Reach(spoilable=set())
    session.judge.patience = 60.0  # tracing takes time
    current = sys.modules[kata.import_name]
    for item in session.items[kata]:
        view = _noting_view(module_from_source(source, kata.import_name, kata.reference), kata, reach, item.nodeid)
        swap_in(session.items[kata], current, view)
        current = view
        functions, lines = set[int](), set[int]()
        trace = _tracer(str(kata.reference), functions, lines if with_lines else None)
        seen = (functions, lines, reach.calls[item.nodeid], reach.spoilable)

        def add(there: Any, seen: Any = seen) -> None:
            for mine, theirs in zip(seen, there, strict=True):
                mine |= theirs

        with carrying(partial(tuple, seen), add):
            sys.settrace(trace)
            threading.settrace(trace)
            try:
                outcome = replay(item)
            finally:
                sys.settrace(None)
                threading.settrace(None)
        if outcome.error is None:
            reach.functions[item.nodeid] = functions
            if with_lines:
                reach.lines[item.nodeid] = lines
        else:
            reach.calls.pop(item.nodeid, None)
    return reach


def _noting_view(module: ModuleType, kata: Kata, reach: Reach, test: str) -> ModuleType:
    """`module` as the tests shall see it, noting in `reach` each answer that they get and how it can be spoiled."""
    calls = reach.calls.setdefault(test, set())
    view = view_of(module)
    for target in targets(module, public_names(kata.stub)):

        def note(answer: Any, args: Any, kwargs: Any, target: str = target) -> None:
            calls.add(target)
            for spoil, function in SPOILS.items():
                if not reach.can_spoil(target, spoil) and APPLIES[function](answer, args, kwargs):
                    assert reach.spoilable is not None
                    reach.spoilable.add((target, spoil))

        wrap(view, target, partial(noting, note=note))
    return view


def _tracer(file: str, functions: set[int], lines: set[int] | None) -> Any:
    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != file:
            return None
        functions.add(frame.f_code.co_firstlineno)
        return None if lines is None else follow

    def follow(frame: Any, event: str, argument: Any) -> Any:
        assert lines is not None
        lines.add(frame.f_lineno)
        return follow

    return trace
