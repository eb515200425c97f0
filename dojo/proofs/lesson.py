"""Proof 8, the page: whether a lesson has its parts, and its steps are those of the stub, the tests and the TOML."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

from dojo.curriculum.katas import Kata
from dojo.curriculum.solutions import is_stub, public_names
from dojo.proofs.sources import used_names

LONGEST = 100
WIDEST_DRAWING = 80
PAUSE_AFTER = 90
"""Minutes, reading included, above which the steps say where to pause."""

PARTS = {
    "Before you start": r"\*\*Before you start\b",
    "The idea": r"\*\*The idea\b",
    "The formula": r"\*\*The formulas?\b",
    "Worked by hand": r"\*\*Worked by hand\b",
    "Steps": r"\*\*Steps\b",
    "Source": r"Sources?:",
}
"""The parts of a lesson in their order, and how the line begins that opens each."""

DRAWN = re.compile(
    "[\u2190-\u21ff\u2500-\u25ff]{2}|[\u2502\u250c\u2510\u2514\u2518\u251c\u2524\u2571-\u2573\u2580-\u259f]"
)
"""What a drawing is known by: lines, corners, blocks, and arrows with a shaft."""

STEP = re.compile(r"^\s+(\w+)\s+(\d+) min\b", re.MULTILINE)
IMPORT = re.compile(r"^\s*from (\.|katas\.(module_\w+)\.)(k\d+_\w+) import (.+?)\s*$", re.MULTILINE)


class Lesson:
    """The module docstring of a stub, cut into its parts."""

    def __init__(self, kata: Kata) -> None:
        self.kata = kata
        self.name = kata.stub.name
        self.tree = ast.parse(kata.stub.read_text(encoding="utf-8"))
        self.text = ast.get_docstring(self.tree) or ""

    def problems(self) -> Iterator[str]:
        """What is missing or wrong, a sentence each."""
        yield from self._parts()
        yield from self._widths()
        yield from self._steps()
        yield from self._test_order()
        yield from self._imports()

    # --- parts --------------------------------------------------------------------------------------

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each part begins, of those that are there."""
        found = {part: re.search(f"^{how}", self.text, re.MULTILINE) for part, how in PARTS.items()}
        return {part: match.start() for part, match in found.items() if match}

    def part(self, name: str) -> str:
        """The text of a part, up to the next line that opens one; "" where it is missing."""
        if name not in self.places:
            return ""
        start = self.places[name]
        after = re.search(r"^(?:\*\*|Sources?:|From scratch:)", self.text[start + 2 :], re.MULTILINE)
        return self.text[start:] if after is None else self.text[start : start + 2 + after.start()]

    def _parts(self) -> Iterator[str]:
        for part in PARTS:
            # A formula that the idea leads up to may stand there.
            if part == "The formula" and re.search(r"^    .*[=≈←∝]", self.part("The idea"), re.MULTILINE):
                continue
            if part not in self.places:
                shown = "`Source: …`" if part == "Source" else f"`**{part}.**`"
                yield f"{self.name}: the lesson has no part {shown}; expected {', '.join(PARTS)}, in this order"
        there = [part for part in PARTS if part in self.places]
        stand = sorted(there, key=lambda part: self.places[part])
        if stand != there:
            yield f"{self.name}: the lesson's parts stand as {', '.join(stand)}; expected {', '.join(there)}"

    def _widths(self) -> Iterator[str]:
        drawing = {line for block in self._blocks() if any(DRAWN.search(one) for _, one in block) for line, _ in block}
        for number, line in enumerate(self.text.splitlines(), 1):
            if len(line) > LONGEST:
                yield f"{self.name}:{number}: a line of {len(line)} columns; at most {LONGEST} in a lesson"
            elif len(line) > WIDEST_DRAWING and number in drawing:
                yield f"{self.name}:{number}: a drawing of {len(line)} columns; at most {WIDEST_DRAWING}"

    def _blocks(self) -> Iterator[list[tuple[int, str]]]:
        """Runs of indented lines, each line with its number."""
        block: list[tuple[int, str]] = []
        for number, line in enumerate(self.text.splitlines(), 1):
            if line.startswith("    "):
                block.append((number, line))
            elif block:
                yield block
                block = []
        if block:
            yield block

    # --- steps --------------------------------------------------------------------------------------

    @cached_property
    def to_write(self) -> list[str]:
        """The public functions and classes of which the learner writes something, in the stub's order."""
        return [
            node.name
            for node in self.tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and any(is_stub(inner) for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef))
        ]

    def _steps(self) -> Iterator[str]:
        name, meta = self.kata.toml.name, self.kata.meta
        steps = meta.get("steps")
        if not isinstance(steps, dict):
            if "minutes" in meta:
                yield f"{name}: `minutes` stands in place of steps; expected `steps = {{ {self.to_write[0]} = 5, … }}`"
            return  # that it is missing is said with the other keys
        if "minutes" in meta:
            yield f"{name}: `minutes` stands beside `steps`, whose sum it is (and the reading): take it out"
        for step, minutes in steps.items():
            if not isinstance(minutes, int) or isinstance(minutes, bool) or minutes <= 0:
                yield f"{name}: the step {step} has {minutes!r} minutes; expected a whole number above 0"
        if list(steps) != self.to_write:
            yield f"{name}: steps are {', '.join(steps)}; expected {', '.join(self.to_write)}, as in the stub"
        told = [(step, int(minutes)) for step, minutes in STEP.findall(self.part("Steps"))]
        if "Steps" in self.places and told != list(steps.items()):
            given = ", ".join(f"{step} {minutes}" for step, minutes in told) or "nothing that reads as `name  5 min`"
            wanted = ", ".join(f"{step} {minutes}" for step, minutes in steps.items())
            yield f"{self.name}: the part Steps lists {given}; expected {wanted}, as in the TOML"
        if self.kata.minutes > PAUSE_AFTER and "pause" not in self.part("Steps").lower():
            yield (
                f"{self.name}: the kata takes {self.kata.minutes} minutes, reading included; above {PAUSE_AFTER} "
                "the part Steps says where to pause"
            )

    def _test_order(self) -> Iterator[str]:
        """Steps must come up in the tests in their order, so that -x leads from one to the next."""
        steps = [step for step in self.kata.steps if step in self.to_write]
        first: dict[str, int] = {}
        tests = list(_tests_and_names(ast.parse(self.kata.test.read_text(encoding="utf-8"))))
        for number, (_, names) in enumerate(tests):
            for step in steps:
                if step in names:
                    first.setdefault(step, number)
        there = [step for step in steps if step in first]
        for before, step in pairwise(there):
            if first[step] < first[before]:
                yield (
                    f"{self.kata.test.name}: {tests[first[step]][0]} uses {step}, before any test uses {before}, "
                    "which is the step before it: put the tests in the order of the steps"
                )

    # --- imports ------------------------------------------------------------------------------------

    def _imports(self) -> Iterator[str]:
        """The line to type is spelled out for each kata that may be imported, and names what there is."""
        katas = {(kata.module, kata.stem): kata for kata in self.kata.dojo.katas}
        before = self.part("Before you start")
        spelled: set[Kata] = set()
        for match in IMPORT.finditer(self.text):
            module = match[2] or self.kata.module
            kata = katas.get((module, match[3]))
            if kata is None:
                right = [k.stem for k in self.kata.dojo.katas if k.name == match[3].split("_", 1)[1]]
                expected = " or ".join(right) or "another name"
                yield f"{self.name}: {match[0].strip()!r}, but there is no {match[3]}; expected {expected}"
                continue
            if match[0].strip() in before:
                spelled.add(kata)
            names = [part.split(" as ")[0].strip() for part in match[4].strip("()").split(",")]
            for missing in [n for n in names if n and n not in public_names(kata.reference)]:
                yield f"{self.name}: {match[3]} has no '{missing}', which the lesson says to import"
        imported = [kata for kata in self._imported() if kata not in spelled]
        for kata in imported:
            where = "." if kata.module == self.kata.module else f"katas.{kata.module}."
            yield (
                f"{self.name}: the reference imports {kata.name}; expected the line `from {where}{kata.stem} import …` "
                "under Before you start"
            )
        if not spelled and not imported and re.search(r"\b(?:use|or) yours\b", before):
            yield f"{self.name}: the lesson lets the learner use theirs; expected the line `from .kNN_name import …`"

    def _imported(self) -> list[Kata]:
        """The katas that the reference imports."""
        by_name = {kata.import_name: kata for kata in self.kata.dojo.katas}
        found: list[Kata] = []
        for node in ast.walk(ast.parse(self.kata.reference.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                kata = by_name.get(f"katas.{self.kata.module}.{module}" if node.level == 1 else module)
                found += [kata] if kata is not None and kata != self.kata else []
        return list(dict.fromkeys(found))


def _tests_and_names(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Each test in the order of the file, with the names that it uses, those of the file's helpers included."""
    helpers: dict[str, set[str]] = {}
    tests: list[tuple[str, ast.AST]] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            inside = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
            tests += [(f"{node.name}::{inner.name}", inner) for inner in inside if inner.name.startswith("test")]
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            tests.append((node.name, node))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            helpers[node.name] = used_names(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    helpers[target.id] = used_names(node.value)
    for name, test in tests:
        names, todo = set[str](), list(used_names(test))
        while todo:
            if (one := todo.pop()) not in names:
                names.add(one)
                todo += helpers.get(one, ())
        yield name, names
