"""Bring a learner's file up to a new version of its stub: their code, under the new lesson.

A three-way merge of base (the stub they started from), yours and new, by top-level
definitions and, within a definition, by its signature, its docstring and its body:

    changed in        what stands in the result
    new alone         new
    yours alone       yours
    both              yours: a conflict, and whoever calls lays the new stub beside it

A body that was filled in, under a docstring that was rewritten, is no conflict.  A
body that was filled in, under parameters that changed, is one: the body is written
for the old ones.  The result is yours with pieces of text exchanged, so that
comments, formatting and functions of your own stay as they are.
"""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

Function = ast.FunctionDef | ast.AsyncFunctionDef
LESSON = "the lesson"
WHOLE = "the whole file"


@dataclass(frozen=True)
class Merged:
    """The learner's new file, and the names of what both sides had changed (yours was kept)."""

    text: str
    conflicts: tuple[str, ...] = ()


def merge(base: str | None, yours: str, new: str) -> Merged:
    """Yours, brought from `base` to `new`; untouched where that can't be done without doubt.

    base is None where it isn't known: then yours stays, a conflict if it differs from new.
    """
    if yours == new or base == new:
        return Merged(yours)
    if yours == base:
        return Merged(new)
    if "\r\n" in yours:
        merged = merge(base and _unix(base), _unix(yours), _unix(new))
        return Merged(merged.text.replace("\n", "\r\n"), merged.conflicts)
    as_it_is = Merged(yours, (WHOLE,))
    if base is None:
        return as_it_is
    try:
        attempt = _Merge(Source(base), Source(yours), Source(new))
        result = Merged(attempt.run(), tuple(attempt.conflicts))
        lost = work(base, yours) - work(base, result.text)
    except (SyntaxError, ValueError, RecursionError):
        return as_it_is  # one of the three isn't Python, or together they aren't
    return as_it_is if lost else result


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def work(base: str, text: str) -> set[tuple[str, str]]:
    """What the learner did in `text`: each definition and statement whose code isn't the base's."""
    return set(_code(text)) - set(_code(base))


def _code(text: str) -> Iterable[tuple[str, str]]:
    """Each definition's name with the code in it, docstrings aside, and each other statement."""
    for node in ast.parse(text).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, Function):
                body = member.body[1:] if _is_text(member.body[0]) else member.body
                yield prefix + member.name, "\n".join(ast.dump(statement) for statement in body)
            elif not _is_text(member):
                yield prefix, ast.dump(member)


@dataclass(frozen=True)
class Unit:
    """A definition, or another statement, in four pieces of text."""

    node: ast.stmt
    lead: str  # the comments right above it
    head: str  # decorators and signature; of what isn't a definition, nothing
    doc: str  # the docstring, or nothing
    rest: str  # all that follows
    at: tuple[int, int, int, int, int]  # where the pieces begin, and where the last ends
    members: dict[str, Unit] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.head + self.doc + self.rest

    @property
    def whole(self) -> str:
        return self.lead + self.text

    def means(self, piece: str) -> str:
        """A piece without what a formatter may change; a body's comments are work."""
        node = self.node
        if piece == "head" and isinstance(node, Function):
            returns = ast.dump(node.returns) if node.returns else ""
            return ast.dump(ast.Tuple([*node.decorator_list])) + ast.dump(node.args) + returns
        if piece == "doc":
            return (ast.get_docstring(node) or "") if isinstance(node, Function | ast.ClassDef) else ""
        return str(getattr(self, piece)).strip()

    @property
    def parameters(self) -> str:
        """What a body is written for: the parameters, whatever their annotations."""
        if not isinstance(self.node, Function):
            return ""
        arguments = deepcopy(self.node.args)
        for node in ast.walk(arguments):
            if isinstance(node, ast.arg):
                node.annotation = None
        return ast.dump(arguments)


class Source:
    """A Python file in pieces.  Raises SyntaxError where it isn't Python."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.starts = list(accumulate((len(line) + 1 for line in self.lines), initial=0))
        body = ast.parse(text).body
        doc = body[0] if body and _is_text(body[0]) else None
        self.doc = text[slice(*self._place(doc))] if doc else ""
        self.doc_at = self._place(doc) if doc else (0, 0)
        self.units = self._units(body[1:] if doc else body)

    def _place(self, node: ast.stmt) -> tuple[int, int]:
        """Where the node begins and ends.  ast counts in bytes, and a lesson's characters have several."""

        def offset(line: int, column: int) -> int:
            return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

        return offset(node.lineno, node.col_offset), offset(node.end_lineno or 0, node.end_col_offset or 0)

    def _units(self, nodes: list[ast.stmt]) -> dict[str, Unit]:
        units: dict[str, Unit] = {}
        for node in nodes:
            name, n = _name(node), 1
            while name in units:
                n += 1
                name = f"{_name(node)} ({n})"
            units[name] = self._unit(node)
        return units

    def _unit(self, node: ast.stmt) -> Unit:
        start, end = self._place(node)
        colon = doc_end = start
        members: dict[str, Unit] = {}
        line = node.lineno
        if isinstance(node, Function | ast.ClassDef):
            line = min([line, *(decorator.lineno for decorator in node.decorator_list)])
            doc = node.body[0] if _is_text(node.body[0]) else None
            colon = self._after_colon(start, self._place(node.body[0])[0])
            doc_end = self._place(doc)[1] if doc else colon
            if isinstance(node, ast.ClassDef):
                members = self._units(node.body[1:] if doc else node.body)
        if not self.text[self.starts[line - 1] : start].strip() or line < node.lineno:
            start = self.starts[line - 1]  # with the indentation
        colon, doc_end = max(colon, start), max(doc_end, start)
        while line > 1 and start == self.starts[node.lineno - 1] and self.lines[line - 2].lstrip().startswith("#"):
            line -= 1
        at = (min(self.starts[line - 1], start), start, colon, doc_end, end)
        lead, head, doc_text, rest = (self.text[a:b] for a, b in pairwise(at))
        return Unit(node, lead, head, doc_text, rest, at, members)

    def _after_colon(self, start: int, first: int) -> int:
        """Where the signature ends; what stands between it and the first statement belongs to the body."""
        depth, begun = 0, False
        line = self.text.count("\n", 0, start)
        for token in tokenize.generate_tokens(io.StringIO(self.text[start:]).readline):
            begun = begun or token.string in ("def", "class")
            if token.type == tokenize.OP:
                depth += (token.string in "([{") - (token.string in ")]}")
                if begun and depth == 0 and token.string == ":":
                    row, column = token.end
                    return (start if row == 1 else self.starts[line + row - 1]) + column
        return first

    def end_of(self, unit: Unit) -> int:
        """The end of the line on which the unit ends, comments that are indented under it included."""
        line = unit.node.end_lineno or 1
        while line < len(self.lines) and self.lines[line].strip().startswith("#"):
            if len(self.lines[line]) - len(self.lines[line].lstrip()) <= unit.node.col_offset:
                break
            line += 1
        return min(self.starts[line] - 1, len(self.text))


class _Merge:
    """One merge: the pieces of `yours` to exchange, and the conflicts."""

    def __init__(self, base: Source, yours: Source, new: Source) -> None:
        self.base, self.yours, self.new = base, yours, new
        self.conflicts: list[str] = []
        self._edits: list[tuple[int, int, str]] = []

    def run(self) -> str:
        base, yours, new = (inspect.cleandoc(source.doc) for source in (self.base, self.yours, self.new))
        if new not in (base, yours):
            if base == yours:
                gap = "" if self.yours.doc else "\n\n"
                self._edits.append((*self.yours.doc_at, self.new.doc + gap))
            else:
                self.conflicts.append(LESSON)
        self._units(self.base.units, self.yours.units, self.new.units, "")
        text = self.yours.text
        # From the end to the beginning; of two at one place, the later one first, so that they stay in order.
        for start, end, piece in sorted(self._edits, key=lambda edit: edit[:2], reverse=True):
            text = text[:start] + piece + text[end:]
        return text

    def _units(self, base: dict[str, Unit], yours: dict[str, Unit], new: dict[str, Unit], prefix: str) -> None:
        added: dict[int, str] = {}
        place = self.yours.doc_at[1] if not prefix else None
        for name, theirs in new.items():
            mine, old = yours.get(name), base.get(name)
            if mine is not None:
                self._both(old, mine, theirs, prefix + name)
                an_import = isinstance(theirs.node, ast.Import | ast.ImportFrom)
                place = max(place or 0 if an_import else 0, self.yours.end_of(mine))
            elif old is None or old.text != theirs.text:
                where = place if place is not None else self._before_all(yours)
                added[where] = added.get(where, "") + self._apart(theirs, prefix, where)
        self._edits += [(where, where, text) for where, text in added.items()]
        for name, old in base.items():
            mine = yours.get(name)
            if name in new or mine is None or mine.text != old.text:
                continue
            if not isinstance(old.node, ast.Import | ast.ImportFrom) or _bound(old.node) <= set().union(
                *(_bound(unit.node) for unit in new.values())
            ):
                above = len(self.yours.text[: mine.at[0]].rstrip())
                self._edits.append((above, self.yours.end_of(mine), ""))

    def _both(self, old: Unit | None, mine: Unit, theirs: Unit, name: str) -> None:
        if theirs.whole in (mine.whole, old.whole if old else None):
            return
        if old is not None and old.whole == mine.whole:
            self._edits.append((mine.at[0], mine.at[4], theirs.whole))
            return
        if old is None or type(mine.node) is not type(theirs.node) or not (mine.head or mine.doc):
            if old is not None and old.text == mine.text:
                self._edits.append((mine.at[1], mine.at[4], theirs.text))
            else:
                self.conflicts.append(name)
            return
        if old.lead == mine.lead:
            self._edits.append((mine.at[0], mine.at[1], theirs.lead))
        pieces = ["head", "doc"] if isinstance(mine.node, ast.ClassDef) else ["head", "doc", "rest"]
        picked = {piece: self._pick(old, mine, theirs, piece) for piece in pieces}
        written = mine.means("rest") != old.means("rest")
        for_others = old.parameters != theirs.parameters != mine.parameters
        if None in picked.values() or (isinstance(mine.node, Function) and written and for_others):
            self.conflicts.append(name)
            picked = {}
        for piece, text in picked.items():
            i = ("lead", "head", "doc", "rest").index(piece)
            if text is not None and text != getattr(mine, piece):
                self._edits.append((mine.at[i], mine.at[i + 1], text))
        if isinstance(mine.node, ast.ClassDef):
            self._units(old.members, mine.members, theirs.members, f"{name}.")

    @staticmethod
    def _pick(old: Unit, mine: Unit, theirs: Unit, piece: str) -> str | None:
        """The text that stands for a piece of the three; None where both sides changed it."""
        b, y, n = (unit.means(piece) for unit in (old, mine, theirs))
        if n in (b, y):
            return str(getattr(mine, piece))
        return str(getattr(theirs, piece)) if y == b else None

    def _before_all(self, yours: dict[str, Unit]) -> int:
        first = next(iter(yours.values()))
        return self.yours.starts[self.yours.text.count("\n", 0, first.at[0])] - 1

    def _apart(self, unit: Unit, prefix: str, where: int) -> str:
        """The text of a unit to insert, with the blank lines that part it from what stands above."""
        small = not isinstance(unit.node, Function | ast.ClassDef)
        blank = "\n" if prefix or small else "\n\n"
        if isinstance(unit.node, ast.Import | ast.ImportFrom) and where != self.yours.doc_at[1]:
            blank = ""
        return f"\n{blank}{unit.lead}{unit.text}"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _name(node: ast.stmt) -> str:
    """What a statement defines; for one that defines no single name, the statement itself."""
    if isinstance(node, Function | ast.ClassDef):
        return node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if isinstance(node, ast.Assign | ast.AnnAssign) and len(targets) == 1 and isinstance(targets[0], ast.Name):
        return targets[0].id
    return ast.unparse(node)


def _bound(node: ast.stmt) -> set[str]:
    """The names that an import brings in."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return set()
    return {alias.asname or alias.name for alias in node.names}


def lesson(text: str) -> str:
    """A file's lesson: its docstring, or nothing where that can't be made out."""
    try:
        return ast.get_docstring(ast.parse(text)) or ""
    except (SyntaxError, ValueError):
        return ""
