"""Mutants of a reference: every small change of its text, and a few that no change of the text says well.

A text mutant replaces one node's code by another's.  It is described by the
smallest piece that changed, "n - 1 -> n".
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from dojo.proofs.explained import Mutant
from dojo.proofs.operators import OPERATORS, PRECAUTIONS, settled_condition

BAKED = "_dojo_first_value"
"""The name under which a mutant finds the function that remembers an expression's first value."""


def _folded(text: str) -> str:
    return " ".join(text.split())


def text_mutants(source: str) -> list[Mutant]:
    """Every mutant that a change of the text makes, each text once, in the order of the lines."""
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    writer = _Writer(source, wrapper.module, positions)
    wrapper.module.visit(writer)
    found: dict[str, Mutant] = {}
    original = ast.dump(ast.parse(source))
    for mutant in [*writer.mutants, *_ignored_arguments(source), *_baked_constants(source)]:
        try:
            tree = ast.dump(ast.parse(mutant.source))
        except SyntaxError:
            continue
        if tree != original:
            found.setdefault(tree, mutant)
    return sorted(found.values(), key=lambda m: m.line)


class _Writer(cst.CSTVisitor):
    """Collects mutants on a walk over the module, leaving out what no test should see."""

    def __init__(self, source: str, module: cst.Module, positions: Any) -> None:
        self.source = source
        self.module = module
        self.positions = positions
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.mutants: list[Mutant] = []
        self.functions: list[str] = []
        self.statements: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Import | cst.ImportFrom | cst.Decorator):
            return False
        if isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value in PRECAUTIONS:
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.functions.append(node.name.value)
        if isinstance(node, cst.SimpleStatementLine | cst.If | cst.While | cst.For | cst.FunctionDef | cst.With):
            self.statements.append(node)
        if _is_docstring(node):
            return False
        if isinstance(node, cst.If | cst.While):
            for new in settled_condition(node):
                self._add(node.test, new)
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                for replacement in operator(node):
                    self._add(node, replacement)
        # What an error says is judged loosely, so its words are left alone; that it is raised isn't.
        return not isinstance(node, cst.Raise)

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self.functions.pop()
        if self.statements and self.statements[-1] is original_node:
            self.statements.pop()

    def _span(self, node: cst.CSTNode) -> tuple[int, int]:
        where = self.positions[node]
        return (
            self.starts[where.start.line - 1] + where.start.column,
            self.starts[where.end.line - 1] + where.end.column,
        )

    def _add(self, node: cst.CSTNode, new: cst.CSTNode) -> None:
        start, end = self._span(node)
        old = self.source[start:end]
        if getattr(node, "lpar", ()) and not old.startswith("(") and hasattr(new, "lpar"):
            new = new.with_changes(lpar=(), rpar=())  # the node's own parentheses stand outside of its span
        text = self.module.code_for_node(new).strip()
        if isinstance(new, cst.SimpleStatementLine):
            text = "pass"
        elif _binds_looser(node, new):
            text = f"({text})"
        if not text or text == old:
            return
        if isinstance(node, cst.ComparisonTarget | cst.Arg | cst.Slice):
            text = text.rstrip(", ")
            old = old.rstrip(", ")
            end = start + len(old)
        elif not isinstance(node, cst.BaseExpression | cst.SimpleStatementLine | cst.BaseSmallStatement):
            # An operator alone says little: its spaces belong to it.
            text = f" {text} "
        mutated = self.source[:start] + text + self.source[end:]
        self.mutants.append(
            Mutant(
                change=f"{_folded(old)} -> {_folded(text)}",
                source=mutated,
                line=self.positions[node].start.line,
                function=self.functions[0] if self.functions else "",
                statements=self._statements(start, end, text),
            )
        )

    def _statements(self, start: int, end: int, text: str) -> tuple[str, str]:
        if not self.statements:
            return ("", "")
        first, last = self._span(self.statements[-1])
        header = getattr(self.statements[-1], "body", None)
        if isinstance(header, cst.IndentedBlock):
            last = min(last, self._span(header)[0] if header.body else last)
        last = max(last, end)
        return (self.source[first:last], self.source[first:start] + text + self.source[end:last])


def _is_docstring(node: cst.CSTNode) -> bool:
    return (
        isinstance(node, cst.SimpleStatementLine)
        and len(node.body) == 1
        and isinstance(node.body[0], cst.Expr)
        and isinstance(node.body[0].value, cst.SimpleString | cst.ConcatenatedString)
    )


def _binds_looser(node: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Whether `new` needs parentheses where `node` stood."""
    loose = cst.BinaryOperation | cst.UnaryOperation | cst.BooleanOperation | cst.Comparison | cst.IfExp | cst.Lambda
    return (
        isinstance(new, loose) and not new.lpar and not isinstance(node, loose) and isinstance(node, cst.BaseExpression)
    )


def _ignored_arguments(source: str) -> Iterator[Mutant]:
    """Each argument with a default, ignored for it: the default is assigned at the function's first line."""
    lines = source.splitlines(keepends=True)
    tree = ast.parse(source)
    for outer in tree.body:
        for node in ast.walk(outer):
            if not isinstance(node, ast.FunctionDef):
                continue
            positional = [*node.args.posonlyargs, *node.args.args]
            pairs = list(zip(positional[len(positional) - len(node.args.defaults) :], node.args.defaults, strict=True))
            pairs += [(a, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is not None]
            first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
            # One that nothing reads, as the y of a scaler's fit, is ignored already.
            read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            for argument, default in pairs:
                if argument.arg not in read:
                    continue
                value = ast.unparse(default)
                indent = " " * first.col_offset
                at = first.lineno - 1
                mutated = "".join([*lines[:at], f"{indent}{argument.arg} = {value}\n", *lines[at:]])
                change = f"{node.name}: argument {argument.arg} ignored, always {value}"
                yield Mutant(change, mutated, node.lineno, getattr(outer, "name", ""))


def _baked_constants(source: str) -> Iterator[Mutant]:
    """Each size that is read from an input, replaced by the value that it has the first time."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = source.encode()
    for outer in tree.body:
        if not isinstance(outer, ast.FunctionDef | ast.ClassDef):
            continue
        in_messages = {id(n) for r in ast.walk(outer) if isinstance(r, ast.Raise) for n in ast.walk(r)}
        # `np.shape` in `np.shape(x)` is a function, which has the same value always: the call is what reads.
        called = {id(n.func) for n in ast.walk(outer) if isinstance(n, ast.Call)}
        sizes = [n for n in ast.walk(outer) if _reads_a_size(n) and id(n) not in in_messages | called]
        for i, node in enumerate(sizes):
            assert isinstance(node, ast.expr)
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            text = data[start:end].decode()
            key = f"{outer.name}-{i}"
            mutated = (data[:start] + f"{BAKED}({key!r}, lambda: {text})".encode() + data[end:]).decode()
            change = f"{_folded(text)} -> its first value"
            yield Mutant(change, mutated, node.lineno, outer.name)


def _reads_a_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
        return isinstance(node.ctx, ast.Load) and not isinstance(node.slice, ast.Slice)
    if isinstance(node, ast.Attribute) and node.attr in ("size", "shape", "ndim") and isinstance(node.ctx, ast.Load):
        return True
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in ("size", "shape", "ndim")
    return isinstance(node.func, ast.Name) and node.func.id == "len"


class FirstValues:
    """What a mutant with a baked constant calls in place of reading a size."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, key: str, read: Any) -> Any:
        return self.values.setdefault(key, read())
