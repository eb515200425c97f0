"""What a Python file says, apart from how it is written: its meaning as bytes, and what it imports.

A hash of a file's bytes changes with each comment.  Here comments and docstrings are left out, and only
those definitions are looked at that somebody asks for, so that a new data set beside an old one changes
nothing for those who use the old one.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

READS_ITSELF = ("__doc__", "getsource", "getdoc", "getcomments", "linecache", "co_firstlineno", "tokenize")
"""A file in which one of these stands may see its own text, so nothing of it is left out."""

_LAYOUT = {tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}


@lru_cache(maxsize=4096)
def meaning(source: str) -> bytes:
    """The tokens of `source` without docstrings, blank lines and comments.

    A comment inside of brackets stays: it stands in the middle of a statement, whose text the
    `equivalent` entries of a TOML are compared with.  What is no Python, or may read itself, is
    taken as it stands.
    """
    if any(word in source for word in READS_ITSELF):
        return source.encode()
    try:
        docstrings = set(_docstrings(ast.parse(source)))
        said: list[str] = []
        depth, in_docstring = 0, False
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
            ends_docstring, in_docstring = in_docstring and token.type == tokenize.NEWLINE, token.start in docstrings
            if token.type in _LAYOUT or in_docstring or ends_docstring:
                continue
            if token.type == tokenize.COMMENT and depth == 0:
                continue
            said.append("\n" if token.type == tokenize.NEWLINE else f"{token.type} {token.string}")
    except (SyntaxError, tokenize.TokenError, ValueError):
        return source.encode()
    return "\0".join(said).encode()


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """Where the docstrings begin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield (first.lineno, first.col_offset)


@dataclass(frozen=True)
class Import:
    """One import: the module, and the names that are taken from it; None is the module as a whole."""

    module: str
    names: frozenset[str] | None


class Source:
    """A Python file, read once."""

    def __init__(self, path: Path, package: str, text: str | None = None) -> None:
        self.path = path
        self.package = package  # what `from . import` begins with
        self.text = text if text is not None else path.read_text(encoding="utf-8") if path.exists() else ""
        self._used: dict[ast.AST, set[str]] = {}
        self._found: dict[tuple[str, frozenset[str] | None], Any] = {}

    @cached_property
    def tree(self) -> ast.Module | None:
        try:
            return ast.parse(self.text)
        except SyntaxError:
            return None

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """The statements of the file that do nothing but define a name, by that name."""
        found: dict[str, list[ast.stmt]] = {}
        for node in self.tree.body if self.tree is not None else []:
            for name in _defined(node):
                found.setdefault(name, []).append(node)
        return found

    def without_imports_of(self, package: str) -> str:
        """The text but for its `from package… import …`, however many lines each takes."""
        lines = self.text.splitlines(keepends=True)
        for node in self.tree.body if self.tree is not None else []:
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
                for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                    lines[number] = ""
        return "".join(lines)

    def _once(self, what: str, names: frozenset[str] | None, find: Callable[[], Any]) -> Any:
        """What `find()` gives, asked once for these names: many katas need the same of a file."""
        if (what, names) not in self._found:
            self._found[what, names] = find()
        return self._found[what, names]

    def _names(self, node: ast.AST) -> set[str]:
        if node not in self._used:
            self._used[node] = used_names(node)
        return self._used[node]

    def needed(self, names: frozenset[str] | None) -> list[ast.stmt] | None:
        """The statements that `names` need: their definitions, what these use, and whatever defines no name.

        None where all of the file is needed: no names are given, or one isn't defined here in plain sight.
        """
        found: list[ast.stmt] | None = self._once("needed", names, lambda: self._needed(names))
        return found

    def _needed(self, names: frozenset[str] | None) -> list[ast.stmt] | None:
        if self.tree is None or names is None or names - set(self.definitions):
            return None
        wanted: set[int] = set()
        todo = [node for node in self.tree.body if not _defined(node) and not _only_imports(node)]
        todo += [node for name in names for node in self.definitions[name]]
        while todo:
            node = todo.pop()
            if id(node) not in wanted:
                wanted.add(id(node))
                todo += [other for name in self._names(node) for other in self.definitions.get(name, ())]
        return [node for node in self.tree.body if id(node) in wanted or _only_imports(node)]

    def text_of(self, names: frozenset[str] | None) -> str:
        """The text of what `names` need, without imports of what they don't use."""
        text: str = self._once("text", names, lambda: self._text_of(names))
        return text

    def _text_of(self, names: frozenset[str] | None) -> str:
        nodes = self.needed(names)
        if nodes is None:
            return self.text
        used = {name for node in nodes if not _only_imports(node) for name in self._names(node)}
        lines = self.text.splitlines()
        parts: list[str] = []
        for node in nodes:
            if _only_imports(node):
                parts += [line for name, line in _import_lines(node) if name in used]
                continue
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            parts.append("\n".join(lines[first - 1 : node.end_lineno]))
        return "\n".join(parts) + "\n"

    def imports(self, names: frozenset[str] | None = None) -> list[Import]:
        """What the file imports, wherever it does so; with `names`, what these need of it."""
        found: list[Import] = self._once("imports", names, lambda: self._imports(names))
        return found

    def _imports(self, names: frozenset[str] | None) -> list[Import]:
        nodes = self.needed(names)
        if nodes is None:
            return list(self._imports_in(self.tree)) if self.tree is not None else []
        used = {name for node in nodes if not _only_imports(node) for name in self._names(node)}
        found: list[Import] = []
        for node in nodes:
            if not _only_imports(node):
                found += self._imports_in(node)
                continue
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom):
                    kept = frozenset(a.name for a in inner.names if (a.asname or a.name) in used)
                    found += [Import(self._module(inner), kept)] if kept else []
                elif isinstance(inner, ast.Import):
                    found += [Import(a.name, None) for a in inner.names if (a.asname or a.name).split(".")[0] in used]
        return found

    def _imports_in(self, tree: ast.AST) -> Iterator[Import]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, None) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names = frozenset(alias.name for alias in node.names)
                yield Import(self._module(node), None if "*" in names else names)

    def _module(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.package.split(".")
        base = ".".join(parents[: len(parents) - node.level + 1])
        return f"{base}.{node.module}" if node.module else base


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    # An assignment that calls something may do more than to define a name.
    calls = any(isinstance(inner, ast.Call) for inner in ast.walk(node))
    if targets and not calls and all(isinstance(target, ast.Name) for target in targets):
        return [target.id for target in targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return [""]  # a docstring, of the file or of the constant above it
    return []


def _only_imports(node: ast.stmt) -> bool:
    """An import, or `if TYPE_CHECKING:` with nothing but imports."""
    if isinstance(node, ast.If):
        return not node.orelse and all(map(_only_imports, node.body))
    return isinstance(node, ast.Import | ast.ImportFrom)


def _import_lines(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, with the import written out for it alone."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.ImportFrom):
            where = "." * inner.level + (inner.module or "")
            for alias in inner.names:
                name = alias.asname or alias.name
                yield name, f"from {where} import {alias.name} as {name}"
        elif isinstance(inner, ast.Import):
            for alias in inner.names:
                called = f" as {alias.asname}" if alias.asname else ""
                yield (alias.asname or alias.name).split(".")[0], f"import {alias.name}{called}"


def used_names(node: ast.AST) -> set[str]:
    """The names that stand in `node`, in annotations and in texts that are annotations, too."""
    found = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value.isidentifier():
            found.add(inner.value)
    return found


def asked_for(tree: ast.AST) -> set[str]:
    """Whatever may be a fixture's name: arguments of functions, and texts that could be names."""
    found = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)
    return found
