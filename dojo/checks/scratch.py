"""The from-scratch rule: what a kata asks for may not be called from a library.

The learner's source is read, not run: names are followed through its imports, its
aliases and the helpers that lie beside it, so that `np.linalg.svd`, `from numpy.linalg
import svd as s` and `getattr(np.linalg, "svd")` are all seen, while tests and libraries
stay free.  What only shows as the code runs is `dojo.checks.forbid`'s to catch.
"""

from __future__ import annotations

import ast
import contextlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dojo.checks import source

METHODS = ("numpy.ndarray.", "torch.Tensor.", "str.", "bytes.")
"""Types whose methods can be forbidden: by name alone, as a method's object has no type in the source."""


REFERENCE = "reference"
"""Stands for the answers in the reference: they are what a kata asks for, whatever else it allows."""

MATMUL = ("__matmul__", "__rmatmul__", "__imatmul__")
IMPORTERS = ("importlib.import_module", "importlib.__import__", "builtins.__import__", "__import__")
A_KATA = re.compile(r"k\d+_[a-z0-9_]+")


@dataclass(frozen=True)
class Violation:
    """A forbidden name in use: the name as the mark gives it, the line, and the file where it is a helper."""

    name: str
    line: int
    helper: Path | None = None


def violations(file: Path, forbidden: tuple[str, ...]) -> list[Violation]:
    """The places in `file`, and in helpers beside it, that use what is forbidden; none where it can't be parsed.

    Those of the file itself come first, by line.
    """
    found = _violations_in(file, forbidden)
    seen, waiting = {file}, [file]
    while waiting:
        for helper in _helpers(waiting.pop()):
            if helper not in seen:
                seen.add(helper)
                waiting.append(helper)
                found += [Violation(v.name, v.line, helper) for v in _violations_in(helper, forbidden)]
    return found


def _parsed(file: Path) -> ast.Module | None:
    try:
        return source.parse(source.read(file))
    except (OSError, SyntaxError, ValueError):
        return None


def _violations_in(file: Path, forbidden: tuple[str, ...]) -> list[Violation]:
    tree = _parsed(file)
    if tree is None:
        return []
    search = _Search(forbidden)
    search.own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    search.docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    search.visit(tree)
    return sorted(set(search.found), key=lambda v: (v.line, v.name))


def _helpers(file: Path) -> list[Path]:
    """The files beside `file`, or at the top of the dojo, that it imports and that are no katas of their own."""
    tree = _parsed(file)
    names: list[str] = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names += [f"{module}.{alias.name}".strip(".") for alias in node.names] + [module]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    found = []
    for name in names:
        stem = name.rpartition(".")[2]
        if A_KATA.fullmatch(stem):
            continue
        parts = name.removeprefix(f"katas.{file.parent.name}.").split(".")
        if not all(parts):
            continue  # `from . import name`: the name itself is in the list, too
        for folder in (file.parent, file.parent.parent, file.parent.parent.parent):
            candidate = folder.joinpath(*parts).with_suffix(".py")
            # At the top, only what isn't the engine's or the project's own.
            if candidate.is_file() and parts[0] not in ("dojo", "fixtures", "tests", REFERENCE):
                found.append(candidate)
                break
    return found


def resolved(name: str) -> Any:
    """What the dotted `name` is, as far as its modules are loaded; None where it is nothing, or isn't loaded."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        module = sys.modules.get(".".join(parts[:n]))
        if module is not None:
            found: Any = module
            for part in parts[n:]:
                found = getattr(found, part, None)
            return found
    return None


class _Search(ast.NodeVisitor):
    def __init__(self, forbidden: tuple[str, ...]) -> None:
        self.names = [n for n in forbidden if n not in ("@", REFERENCE) and not n.startswith(METHODS)]
        self.methods = {n.rsplit(".", 1)[1]: n for n in forbidden if n.startswith(METHODS)}
        self.matmul = "@" in forbidden
        self.reference = REFERENCE in forbidden
        self.aliases: dict[str, str] = {}  # a name in the file → what it was imported from
        self.own: set[str] = set()  # what the file defines itself, under whatever name
        self.docstrings: set[int] = set()
        self.found: list[Violation] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            # `import a.b` binds a; `import a.b as c` binds c to a.b.
            self.aliases[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )
            self._check(alias.name, node)

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

    def visit_Assign(self, node: ast.Assign) -> None:
        full = self._dotted(node.value)
        if full is not None:
            self.aliases |= {target.id: full for target in node.targets if isinstance(target, ast.Name)}
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        full = self._dotted(node)
        if full is not None:
            self._check(full, node)
        elif node.attr in self.methods:
            self._add(self.methods[node.attr], node)
        if self.matmul and node.attr in MATMUL:
            self._add("@", node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        full = self._dotted(node)
        if full is not None:
            self._check(full, node)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        # A path to the answers; a docstring may speak of them.
        text = node.value if self.reference and id(node) not in self.docstrings else None
        if isinstance(text, str) and re.search(r"(^|[/\\])reference[/\\]", text):
            self._add(REFERENCE, node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.aliases:
            self._check(self.aliases[node.id], node)
        elif isinstance(node.ctx, ast.Load) and node.id not in self.own:
            self._check(f"builtins.{node.id}", node)

    def visit_Call(self, node: ast.Call) -> None:
        full = self._dotted(node)
        if full is not None:
            self._check(full, node)
        text = _text(node.args[1]) if _called(node) == "getattr" and len(node.args) > 1 else None
        if full is None and text in self.methods:
            self._add(self.methods[text], node)
        if _called(node) in ("methodcaller", "operator.methodcaller") and node.args:
            self._check_method(_text(node.args[0]), node)
        for text in _dtypes_in_words(node):
            self._check(f"numpy.{text}", node)
        self.generic_visit(node)

    def _check_method(self, name: str | None, node: ast.expr) -> None:
        if name in self.methods:
            self._add(self.methods[name], node)
        if self.matmul and name in MATMUL:
            self._add("@", node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if self.matmul and isinstance(node.op, ast.MatMult):
            self._add("@", node)
        if self.reference and isinstance(node.op, ast.Div) and REFERENCE in (_text(node.left), _text(node.right)):
            self._add(REFERENCE, node)
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
        if isinstance(node, ast.Call):
            called = self._dotted(node.func) or _called(node)
            if called == "getattr" and len(node.args) >= 2:
                base, name = self._dotted(node.args[0]), _text(node.args[1])
                return f"{base}.{name}" if base and name else None
            if called in IMPORTERS and node.args:
                return _text(node.args[0])
        if isinstance(node, ast.Subscript):  # vars(np)["dot"], np.__dict__["dot"], sys.modules["numpy"]
            name, holder = _text(node.slice), node.value
            if name is None:
                return None
            if isinstance(holder, ast.Call) and _called(holder) == "vars" and holder.args:
                base = self._dotted(holder.args[0])
                return None if base is None else f"{base}.{name}"
            base = self._dotted(holder)
            if base == "sys.modules":
                return name
            return f"{base.removesuffix('.__dict__')}.{name}" if base and base.endswith(".__dict__") else None
        return None

    def _check(self, full: str, node: ast.stmt | ast.expr) -> None:
        if self.reference and full.split(".")[0] == REFERENCE:
            self._add(REFERENCE, node)
        if self.matmul and full in ("operator.matmul", "operator.imatmul"):
            self._add("@", node)
        for name in self.names:
            if full == name or full.startswith(f"{name}."):
                self._add(name, node)
                return
        for method in self.methods.values():
            if full == method:
                self._add(method, node)
                return
        # Another way to the same thing: numpy._core.multiarray.dot.
        root = full.split(".")[0]
        if "." in full and any(name.startswith(f"{root}.") for name in self.names):
            meant = resolved(full)
            for name in self.names:
                if meant is not None and (callable(meant) or name in sys.modules) and meant is resolved(name):
                    self._add(name, node)

    def _add(self, name: str, node: ast.stmt | ast.expr) -> None:
        self.found.append(Violation(name, node.lineno))


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _called(call: ast.Call) -> str | None:
    """The name of what is called, where it is a plain one: "getattr", "operator.methodcaller"."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        return f"{call.func.value.id}.{call.func.attr}"
    return None


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
