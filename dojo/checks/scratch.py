"""The from-scratch rule: what a kata asks for may not be called from a library.

The learner's source is read, not run: names are followed through its imports,
so that `np.linalg.svd`, `from numpy.linalg import svd as s` and
`getattr(np.linalg, "svd")` are all seen, while tests and libraries stay free.
"""

from __future__ import annotations

import ast
import contextlib
from dataclasses import dataclass
from pathlib import Path

from dojo.checks import source

METHODS = ("numpy.ndarray.", "torch.Tensor.", "str.", "bytes.")
"""Types whose methods can be forbidden: by name alone, as a method's object has no type in the source."""


@dataclass(frozen=True)
class Violation:
    """A forbidden name in use: the name as the mark gives it, and the line."""

    name: str
    line: int


def violations(file: Path, forbidden: tuple[str, ...]) -> list[Violation]:
    """The places in `file` that use what is forbidden, by line; none where it can't be parsed."""
    try:
        tree = source.parse(source.read(file))
    except (OSError, SyntaxError, ValueError):
        return []
    search = _Search(forbidden)
    search.own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    search.visit(tree)
    return sorted(set(search.found), key=lambda v: (v.line, v.name))


class _Search(ast.NodeVisitor):
    def __init__(self, forbidden: tuple[str, ...]) -> None:
        self.names = [n for n in forbidden if n != "@" and not n.startswith(METHODS)]
        self.methods = {n.rsplit(".", 1)[1]: n for n in forbidden if n.startswith(METHODS)}
        self.matmul = "@" in forbidden
        self.aliases: dict[str, str] = {}  # a name in the file → what it was imported from
        self.own: set[str] = set()  # what the file defines itself, under whatever name
        self.found: list[Violation] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            # `import a.b` binds a; `import a.b as c` binds c to a.b.
            self.aliases[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )
            if alias.name in self.names:
                self._add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module is None:
            return
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            self.aliases[alias.asname or alias.name] = full
            self._check(full, node)
            if alias.name == "*":
                for name in self.names:
                    if name == node.module or name.rsplit(".", 1)[0] == node.module:
                        self._add(name, node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        full = self._dotted(node)
        if full is not None:
            self._check(full, node)
        elif node.attr in self.methods:
            self._add(self.methods[node.attr], node)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.aliases:
            self._check(self.aliases[node.id], node)
        elif isinstance(node.ctx, ast.Load) and node.id not in self.own:
            self._check(f"builtins.{node.id}", node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) >= 2:
            owner, name = node.args[:2]
            base = self._dotted(owner)
            if base is not None and isinstance(name, ast.Constant) and isinstance(name.value, str):
                self._check(f"{base}.{name.value}", node)
        for text in _dtypes_in_words(node):
            self._check(f"numpy.{text}", node)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if self.matmul and isinstance(node.op, ast.MatMult):
            self._add("@", node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if self.matmul and isinstance(node.op, ast.MatMult):
            self._add("@", node)
        self.generic_visit(node)

    def _dotted(self, node: ast.AST) -> str | None:
        """The full name that `node` means where it starts at an import, else None."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self._dotted(node.value)
            return None if base is None else f"{base}.{node.attr}"
        return None

    def _check(self, full: str, node: ast.stmt | ast.expr) -> None:
        for name in self.names:
            if full == name or full.startswith(f"{name}."):
                self._add(name, node)

    def _add(self, name: str, node: ast.stmt | ast.expr) -> None:
        self.found.append(Violation(name, node.lineno))


def _dtypes_in_words(call: ast.Call) -> list[str]:
    """The dtypes that a call gives as text: "float16" of x.astype("half"), x.view("<f2") and zeros(3, dtype="e")."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "dtype"]
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("astype", "view", "dtype"):
        given += call.args[:1]
    texts = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if not texts:
        return []
    import numpy as np

    found = []
    for text in texts:
        with contextlib.suppress(TypeError):
            found.append(np.dtype(text).name)
    return found
