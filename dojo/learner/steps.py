"""The step of a kata that the learner is at, and the katas that it builds on.

A step is a function or a class to write; the TOML lists them in order, with minutes.  The
learner is at the first that is still a stub or was judged wrong; where there is none, at the first
whose tests haven't all been seen green.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dojo.curriculum.katas import Dojo, Kata
from dojo.curriculum.solutions import is_stub


@dataclass(frozen=True)
class Step:
    """One step of a kata."""

    name: str  # of the function or class
    minutes: int
    number: int  # from 1
    of: int  # how many steps the kata has

    def __str__(self) -> str:
        minutes = f"{self.minutes} minute{'' if self.minutes == 1 else 's'}"
        return f"step {self.number} of {self.of}: {self.name}, about {minutes}"


def steps_of(kata: Kata) -> list[Step]:
    """The kata's steps in order; none where its TOML has none."""
    steps = kata.steps
    return [Step(name, minutes, i, len(steps)) for i, (name, minutes) in enumerate(steps.items(), 1)]


def step_at(kata: Kata, colours: Mapping[str, str]) -> Step | None:
    """The step that the learner is at; None where all are done, or the kata has none.

    colours  of each test that was judged as the file is now: its id within the file → colour
    """
    steps = steps_of(kata)
    if not steps:
        return None
    stubs = _stubs(kata)
    judged: dict[str, set[str]] = {}
    for test, colour in colours.items():
        judged.setdefault(test.split("[", 1)[0], set()).add(colour)
    found: dict[str, set[str]] = {step.name: set() for step in steps}
    for base, owner in owners_of_tests(kata).items():
        if owner:
            found[owner] |= judged.get(base, {"not yet"})  # a run with -x has stopped before it
    for step in steps:
        if step.name in stubs or found[step.name] & {"red", "amber"}:
            return step
    return next((step for step in steps if not found[step.name] <= {"green", "skipped"}), None)


def _stubs(kata: Kata) -> set[str]:
    """The functions of the learner's file that aren't written, and the classes with a method that isn't."""
    try:
        body = ast.parse(kata.path.read_text(encoding="utf-8")).body
    except FileNotFoundError:
        return set(kata.steps)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    found = set()
    for node in body:
        functions = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and any(map(is_stub, functions)):
            found.add(node.name)
    return found


def owners_of_tests(kata: Kata) -> dict[str, str]:
    """Each test of the kata ("TestMean::test_of_one", without parameters) → the step that it is about; "" for none.

    The test's class names it, or the test's own name; else it is the last in order of those that the test calls,
    as the earlier ones are what it is made from.
    """
    try:
        body = ast.parse(kata.test.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return {}
    names = list(kata.steps)
    found = {}
    for group, function in _tests(body):
        base = f"{group.name}::{function.name}" if group else function.name
        called = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        called |= {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
        by_class = _named(group.name.removeprefix("Test"), names, whole=True) if group else ""
        by_name = _named(function.name.removeprefix("test"), names, whole=False)
        by_call = next((name for name in reversed(names) if name in called), "")
        found[base] = by_class or (by_name if by_name in called else "") or by_call or by_name
    return found


def _tests(body: list[ast.stmt]) -> Iterable[tuple[ast.ClassDef | None, ast.FunctionDef]]:
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            yield None, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test"):
                    yield node, inner


def _named(text: str, names: list[str], whole: bool) -> str:
    """The longest of `names` that `text` says, whatever its capitals and its underscores."""
    plain = _plain(text)
    fits = [name for name in names if (_plain(name) == plain if whole else f"_{name.lower()}" in f"_{text.lower()}")]
    if whole and not fits:
        fits = [name for name in names if plain.startswith(_plain(name))]
    return max(fits, key=len, default="")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def prerequisites(kata: Kata) -> list[Kata]:
    """The katas that this one builds on, in order: those that its reference imports."""
    try:
        tree = ast.parse(kata.reference.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            package = f"katas.{kata.module}" if node.level == 1 else ""
            modules.add(f"{package}.{node.module or ''}".strip("."))
            modules |= {f"{package}.{alias.name}" for alias in node.names if package and not node.module}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return _known(kata.dojo, modules - {kata.import_name})


def _known(dojo: Dojo, modules: set[str]) -> list[Kata]:
    return [kata for kata in dojo.katas if kata.import_name in modules]
