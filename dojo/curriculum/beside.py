"""Two files function by function: what each has under one name, docstrings left out, comments kept."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A function, a method ("Class.method"), or what else a file or a class holds ("", "Class")."""

    name: str
    lines: tuple[str, ...]  # with the comments above it
    code: str  # the same to Python: neither comments nor layout count


@dataclass(frozen=True)
class Beside:
    """One name in two files; None where a file hasn't got it."""

    name: str
    mine: Part | None
    theirs: Part | None

    @property
    def same(self) -> bool:
        return self.mine is not None and self.theirs is not None and self.mine.code == self.theirs.code


def beside(mine: Path, theirs: Path) -> list[Beside]:
    """The parts of two files, in the order of the second; what only the first has comes last.

    Raises SyntaxError where one can't be read.
    """
    one, other = ({part.name: part for part in parts(file.read_text(encoding="utf-8"))} for file in (mine, theirs))
    both = [Beside(name, one.get(name), part) for name, part in other.items()]
    return both + [Beside(name, part, None) for name, part in one.items() if name not in other]


def parts(source: str) -> list[Part]:
    """The parts of a source, each without its docstring; imports are no part."""
    lines = source.splitlines()
    found = list(_parts(ast.parse(source).body, lines, ""))
    return [part for part in found if part.code]


def _parts(body: list[ast.stmt], lines: list[str], owner: str) -> Iterator[Part]:
    rest: list[ast.stmt] = []
    inner: list[Part] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner.append(_part(f"{owner}.{node.name}".lstrip("."), [node], lines))
        elif isinstance(node, ast.ClassDef):
            inner.extend(_parts(node.body, lines, f"{owner}.{node.name}".lstrip(".")))
        elif not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node):
            rest.append(node)
    yield _part(owner, rest, lines)
    yield from inner


def _part(name: str, nodes: list[ast.stmt], lines: list[str]) -> Part:
    kept: list[str] = []
    for node in nodes:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        while first > 1 and lines[first - 2].strip().startswith("#"):
            first -= 1
        hidden = {
            line
            for inner in ast.walk(node)
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _is_text(inner.body[0])
            for line in range(inner.body[0].lineno, (inner.body[0].end_lineno or 0) + 1)
            if len(inner.body) > 1
        }
        kept += [lines[i - 1] for i in range(first, (node.end_lineno or first) + 1) if i not in hidden]
    indent = min((len(line) - len(line.lstrip()) for line in kept if line.strip()), default=0)
    return Part(name, tuple(line[indent:] for line in kept), "\n".join(ast.unparse(_bare(node)) for node in nodes))


def _bare(node: ast.stmt) -> ast.stmt:
    for inner in ast.walk(node):
        has_text = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _is_text(inner.body[0])
        if has_text and len(inner.body) > 1:  # type: ignore[attr-defined]
            inner.body = inner.body[1:]  # type: ignore[attr-defined]
    return node


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
