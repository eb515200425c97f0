"""Small changes of a reference that can be put into words a learner understands.

A mutant is any change; these are the few that people make, each with a sentence: an
argument ignored, or not handed on; a term, a call or a statement left out; a
comparison that is right but for the limit.  A sentence names only what the stub
names: parameters, functions, attributes; never the reference's locals, numbers or lines.

rank    0 is the likeliest reason of all that give the same answers: an argument ignored (0), not
        handed on (1), a term or call left out (2), a statement, a sign, an axis (3), a
        comparison (4), a number (5)
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

ALIKE = 12
"""Changes of one function that put one parameter in another's place."""

FUNCTION = "{}"
"""Stands in a sentence for the function that the learner's failing tests call, where the change is in a helper."""


@dataclass(frozen=True)
class Change:
    """The characters from `start` to `end` of the reference, replaced by `new`; on which line, and in words."""

    rank: int
    words: str
    start: int
    end: int
    new: str
    line: int

    def apply(self, source: str) -> str:
        return source[: self.start] + self.new + source[self.end :]


LEFT_OUT = {
    "sqrt": "no root were taken", "exp": "no exponential were taken", "log": "no logarithm were taken",
    "log2": "no logarithm were taken", "abs": "no absolute value were taken", "softmax": "there were no softmax",
    "log_softmax": "there were no log-softmax", "sigmoid": "there were no sigmoid", "tanh": "there were no tanh",
    "relu": "there were no ReLU", "gelu": "there were no GELU", "silu": "there were no SiLU",
    "sorted": "nothing were sorted", "sort": "nothing were sorted", "lower": "capitals were kept",
    "casefold": "capitals were kept", "strip": "what stands at the ends were kept",
    "rstrip": "what stands at the end were kept", "lstrip": "what stands at the beginning were kept",
    "set": "repeats were kept", "unique": "repeats were kept", "reversed": "the order weren't turned round",
    "flip": "the order weren't turned round", "round": "nothing were rounded", "floor": "nothing were rounded down",
    "ceil": "nothing were rounded up", "clip": "nothing were cut off at a limit",
    "clamp": "nothing were cut off at a limit", "clamp_min": "nothing were cut off at a limit",
    "clamp_max": "nothing were cut off at a limit", "minimum": "nothing were cut off at a limit",
    "maximum": "nothing were cut off at a limit", "min": "nothing were cut off at a limit",
    "max": "nothing were cut off at a limit", "cumsum": "nothing were summed up on the way",
    "masked_fill": "nothing were masked", "tril": "no triangle were cut out", "triu": "no triangle were cut out",
    "transpose": "nothing were transposed", "normalize": "nothing were normalized", "fmod": "no remainder were taken",
}  # fmt: skip
"""Calls whose value is of the kind of what goes in, so that they can be forgotten: what is missing then."""

TWO_SIDED = {"min", "max", "minimum", "maximum"}

NOUNS = {
    "sum": "a sum", "mean": "a mean", "median": "the median", "max": "the largest", "min": "the smallest",
    "amax": "the largest", "amin": "the smallest", "argmax": "the place of the largest",
    "argmin": "the place of the smallest", "maximum": "the larger", "minimum": "the smaller",
    "floor": "rounding down", "ceil": "rounding up", "round": "rounding to the nearest", "any": "any", "all": "all",
    "var": "the variance", "std": "the standard deviation", "log": "the natural logarithm",
    "log2": "the logarithm to base 2", "tril": "the lower triangle", "triu": "the upper triangle",
    "sin": "the sine", "cos": "the cosine", "prod": "a product", "zeros": "zeros", "ones": "ones",
    "zeros_like": "zeros", "ones_like": "ones", "argsort": "the order", "exp": "the exponential",
}  # fmt: skip
TWINS = {
    "sum": ["mean"], "mean": ["sum", "median"], "median": ["mean"], "max": ["min"], "min": ["max"], "amax": ["amin"],
    "amin": ["amax"], "argmax": ["argmin"], "argmin": ["argmax"], "maximum": ["minimum"], "minimum": ["maximum"],
    "floor": ["ceil", "round"], "ceil": ["floor", "round"], "round": ["floor", "ceil"], "any": ["all"],
    "all": ["any"], "var": ["std"], "std": ["var"], "log": ["log2"], "log2": ["log"], "tril": ["triu"],
    "triu": ["tril"], "sin": ["cos"], "cos": ["sin"], "prod": ["sum"], "zeros": ["ones"], "ones": ["zeros"],
    "zeros_like": ["ones_like"], "ones_like": ["zeros_like"],
}  # fmt: skip

ALONG = {
    "sum", "mean", "softmax", "log_softmax", "max", "min", "amax", "amin", "argmax", "argmin", "sort", "argsort",
    "cumsum", "std", "var", "norm", "cat", "concatenate", "stack", "prod", "any", "all", "logsumexp", "flip", "median",
    "diff", "topk",
}  # fmt: skip
OTHER_AXES = {0: [1, -1], 1: [0], -1: [-2, 0], -2: [-1], 2: [1]}

_WIDER: dict[type[ast.cmpop], str] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
_SIGN: dict[type[ast.cmpop], str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def changes(reference: str, stub: str) -> list[Change]:
    """Every change of the reference's text that has words, each text once, the likeliest first."""
    original = ast.dump(ast.parse(reference))
    alike: Counter[str] = Counter()
    found: dict[str, Change] = {}
    for change in sorted(_Walk(reference, stub).all(), key=lambda c: (c.rank, c.start)):
        try:
            tree = ast.dump(ast.parse(change.apply(reference)))
        except SyntaxError:
            continue
        # Of a formula of twenty parameters, each may stand for each.
        function, uses, _ = change.words.partition(" uses ")
        alike[function] += bool(uses)
        if uses and alike[function] > ALIKE:
            continue
        if tree != original:
            found.setdefault(tree, change)
    return list(found.values())


class _Walk:
    """One walk over a reference, with what the stub names at hand."""

    def __init__(self, reference: str, stub: str) -> None:
        self.source = reference
        self.tree = ast.parse(reference)
        self.torch = bool(re.search(r"^\s*(import|from) torch", reference, re.MULTILINE))
        self.starts = [0]
        for line in reference.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line.encode()))
        self.bytes = reference.encode()
        self.parameters = _parameters(ast.parse(stub))
        self.words = set(re.findall(r"[A-Za-z_]\w*", stub))
        self.public = {n.name for n in ast.parse(stub).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        self.subject = ""
        self.known: set[str] = set()

    def all(self) -> Iterator[Change]:
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef):
                yield from self._function(node, node.name, f"{node.name}()" if node.name in self.public else FUNCTION)
            elif isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef):
                        subject = node.name if node.name in self.public else FUNCTION
                        plain = method.name.startswith("_") or method.name == "forward"
                        yield from self._function(
                            method, f"{node.name}.{method.name}", subject if plain else f"{subject}.{method.name}()"
                        )

    def _function(self, node: ast.FunctionDef, path: str, subject: str) -> Iterator[Change]:
        self.subject = subject
        everyones = set().union(*self.parameters.values()) if self.parameters else set()
        own = {a.arg for a in _arguments(node)} - {"self"}
        # A helper's parameter is named where some function of the stub has one of that name.
        self.known = own & (self.parameters.get(path, everyones))
        yield from self._of_parameters(node, path)
        for statement in node.body:
            for inner in _walk(statement):
                for rank, words, at, new in self._of_node(inner):
                    yield self._change(rank, words, at, new)
        yield from self._of_blocks(node)

    # --- places ---------------------------------------------------------------------------------------

    def _offset(self, line: int, column: int) -> int:
        return len(self.bytes[: self.starts[line - 1] + column].decode())

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self.source[start:end]

    def _change(self, rank: int, words: str, at: ast.expr | ast.stmt, new: str) -> Change:
        start, end = self._span(at)
        if isinstance(at, ast.expr) and not re.fullmatch(r"[\w.]+", new):
            new = f"({new})"
        return Change(rank, f"{self.subject}{words}", start, end, new, at.lineno)

    # --- names ----------------------------------------------------------------------------------------

    def _name(self, node: ast.expr) -> str | None:
        """How the stub calls what stands there: a parameter, an attribute, what a function of the stub gives."""
        if isinstance(node, ast.Name) and (node.id in self.known or (len(node.id) > 1 and node.id in self.public)):
            return f"`{node.id}`"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return f"`{node.attr}`" if node.attr in self.words and not node.attr.startswith("_") else None
        if isinstance(node, ast.Call):
            inner = self._name(node.func)
            if inner is not None:
                return f"what {inner} gives"
            called = _called(node)
            if called == "sqrt" and len(node.args) == 1 and (of := self._name(node.args[0])):
                return f"the root of {of}"
            return None
        if isinstance(node, ast.Subscript | ast.Starred):
            return self._name(node.value) if not isinstance(node, ast.Subscript) else None
        return None

    # --- a function's parameters ------------------------------------------------------------------------

    def _of_parameters(self, node: ast.FunctionDef, path: str) -> Iterator[Change]:
        wanted = self.parameters.get(path, set())
        first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
        at = self._offset(first.lineno, 0)
        indent = " " * first.col_offset

        def insert(rank: int, words: str, code: str) -> Change:
            return Change(rank, f"{self.subject}{words}", at, at, f"{indent}{code}\n", first.lineno)

        for argument, default in _defaults(node):
            if argument in wanted:
                value = ast.unparse(default)
                how = "weren't given" if value == "None" else f"were ignored and always {value}"
                yield insert(0, f" answers as if `{argument}` {how}.", f"{argument} = {value}")
        given = [a for a in _arguments(node) if a.arg in wanted]
        for left, right in pairwise(given):
            annotated = left.annotation is not None and right.annotation is not None
            if annotated and ast.dump(left.annotation) == ast.dump(right.annotation):  # type: ignore[arg-type]
                a, b = left.arg, right.arg
                yield insert(2, f" answers as if `{a}` and `{b}` had changed places.", f"{a}, {b} = {b}, {a}")
        for number in given:
            if isinstance(number.annotation, ast.Name) and number.annotation.id == "int":
                for sign, how in (("+", "more"), ("-", "less")):
                    yield insert(5, f" answers as if `{number.arg}` were one {how}.", f"{number.arg} {sign}= 1")

    # --- expressions ------------------------------------------------------------------------------------

    def _of_node(self, node: ast.AST) -> Iterator[tuple[int, str, ast.expr | ast.stmt, str]]:
        if isinstance(node, ast.BinOp):
            yield from self._of_operation(node)
        elif isinstance(node, ast.Call):
            yield from self._of_call(node)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            yield from self._of_comparison(node)
        elif isinstance(node, ast.UnaryOp):
            yield from self._of_unary(node)
        elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            yield 3, ": something isn't transposed.", node, self._text(node.value)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            for bound in (node.slice.lower, node.slice.upper):
                if bound is not None and not isinstance(bound, ast.Constant | ast.UnaryOp):
                    for sign in "+-":
                        yield 5, ": a bound is off by one.", bound, f"{self._text(bound)} {sign} 1"
        elif isinstance(node, ast.Lambda) and isinstance(node.body, ast.Tuple) and len(node.body.elts) > 1:
            kept = ", ".join(self._text(e) for e in node.body.elts[:-1])
            yield 4, ": among equals another one comes first.", node.body, f"{kept},"
        elif isinstance(node, ast.BoolOp):
            other = " or " if isinstance(node.op, ast.And) else " and "
            joined = other.join(f"({self._text(v)})" for v in node.values)
            yield 4, ": two conditions are joined by `and` where it must be `or`, or the other way.", node, joined
        elif isinstance(node, ast.Return) and node.value is not None and self.torch:
            if isinstance(node.value, ast.BinOp | ast.Call | ast.Name):
                text = f"({self._text(node.value)}).detach()"
                yield 2, ": the answer is cut off from its gradient.", node.value, text
        elif isinstance(node, ast.AugAssign) and (name := self._name(node.value)):
            how = {ast.Add: f"{name} weren't added", ast.Sub: f"{name} weren't taken away"}.get(type(node.op))
            if how:
                yield 3, f" answers as if {how}.", node, "pass"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = _called(node.value)
            if called in self.words and isinstance(node.value.func, ast.Attribute):
                yield 3, f" answers as if `{called}` weren't called.", node, "pass"
        elif isinstance(node, ast.Name) and node.id in self.known and isinstance(node.ctx, ast.Load):
            yield from self._another(node)

    def _of_operation(self, node: ast.BinOp) -> Iterator[tuple[int, str, ast.expr, str]]:
        left, right = self._text(node.left), self._text(node.right)
        dropped: dict[type[ast.operator], str] = {
            ast.Add: "{} weren't added", ast.Sub: "{} weren't taken away", ast.Mult: "nothing were multiplied by {}",
            ast.Div: "nothing were divided by {}", ast.Pow: "nothing were raised to {}",
            ast.FloorDiv: "nothing were divided by {}", ast.Mod: "no remainder by {} were taken",
        }  # fmt: skip
        how = dropped.get(type(node.op))
        if how and (name := self._name(node.right)):
            yield 2, f" answers as if {how.format(name)}.", node, left
        if how and isinstance(node.op, ast.Add | ast.Mult) and (name := self._name(node.left)):
            yield 2, f" answers as if {how.format(name)}.", node, right
        if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant):
            if node.right.value == 2:
                yield 2, ": something isn't squared.", node, left
            elif node.right.value == 0.5:
                yield 2, " answers as if no root were taken.", node, left
        if isinstance(node.op, ast.Add | ast.Sub) and not isinstance(node.right, ast.Constant):
            sign = "-" if isinstance(node.op, ast.Add) else "+"
            yield 3, ": a plus and a minus are mixed up.", node, f"{left} {sign} ({right})"
        if isinstance(node.op, ast.Div):
            yield from self._of_divisor(node, left)

    def _of_divisor(self, node: ast.BinOp, left: str) -> Iterator[tuple[int, str, ast.expr, str]]:
        by = node.right
        if isinstance(by, ast.BinOp) and isinstance(by.op, ast.Sub) and isinstance(by.right, ast.Constant):
            if by.right.value == 1:
                yield 2, " divides by n where n − 1 is wanted.", node, f"{left} / {self._text(by.left)}"
        elif (isinstance(by, ast.Call) and _called(by) == "len") or isinstance(by, ast.Subscript | ast.Attribute):
            yield 3, " divides by n − 1 where n is wanted.", node, f"{left} / ({self._text(by)} - 1)"

    def _of_call(self, node: ast.Call) -> Iterator[tuple[int, str, ast.expr, str]]:
        called = _called(node)
        arguments = node.args
        inside = (
            node.func.value
            if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
            else (arguments[0] if arguments and not isinstance(arguments[0], ast.Starred) else None)
        )
        if called in LEFT_OUT and inside is not None and (called not in TWO_SIDED or len(arguments) == 2):
            yield 2, f" answers as if {LEFT_OUT[called]}.", node, self._text(inside)
            if called in TWO_SIDED and isinstance(node.func, ast.Name):
                yield 2, f" answers as if {LEFT_OUT[called]}.", node, self._text(arguments[1])
        elif arguments and not isinstance(arguments[0], ast.Starred) and (name := self._name(node.func)):
            yield 2, f" answers as if {name} weren't applied.", node, self._text(arguments[0])
        for i, keyword in enumerate(node.keywords):
            if keyword.arg is None or keyword.arg == "strict":
                continue
            if keyword.arg in ("ddof", "correction", "unbiased"):
                n_less = ast.unparse(keyword.value) in ("1", "True")
                words = "n where n − 1 is wanted" if n_less else "n − 1 where n is wanted"
                other = {"1": "0", "0": "1", "True": "False", "False": "True"}.get(ast.unparse(keyword.value))
                if other:
                    yield 2, f" divides by {words}.", keyword.value, other
            name = self._name(keyword.value)
            if name is not None and name.startswith("`"):
                words = f": {name} isn't handed on."
                if keyword.arg == "generator":
                    words = f": something random is drawn without {name}."
                yield 1, words, node, self._without(node, i)
            elif keyword.arg == "dtype":
                yield 3, ": a number has another type than it should.", node, self._without(node, i)
        named = isinstance(node.func, ast.Name) or self._name(node.func) is not None
        if len(arguments) > 1 and not node.keywords and named and (name := self._name(arguments[-1])):
            start, end = self._span(node)[0], self._span(arguments[-2])[1]
            yield 1, f": {name} isn't handed on.", node, f"{self.source[start:end]})"
        yield from self._of_axis(node, called)
        for other in TWINS.get(called, ()):
            # Of a list or an iterator there is no mean: such a twin crashes, and is dropped.
            func = self._text(node.func)
            new = f"{func.removesuffix(called)}{other}{self.source[self._span(node.func)[1] : self._span(node)[1]]}"
            yield 3, f" takes {NOUNS[other]} in place of {NOUNS[called]}.", node, new
        if called == "range" and arguments:
            stop = arguments[0] if len(arguments) == 1 else arguments[1]
            for sign in "+-":
                yield 5, ": a bound is off by one.", stop, f"{self._text(stop)} {sign} 1"

    def _without(self, node: ast.Call, dropped: int) -> str:
        kept = [self._text(a) for a in node.args]
        kept += [
            f"{k.arg}={self._text(k.value)}" if k.arg else f"**{self._text(k.value)}"
            for i, k in enumerate(node.keywords)
            if i != dropped
        ]
        return f"{self._text(node.func)}({', '.join(kept)})"

    def _of_axis(self, node: ast.Call, called: str) -> Iterator[tuple[int, str, ast.expr, str]]:
        values = [k.value for k in node.keywords if k.arg in ("dim", "axis")]
        if not values and called in ALONG:
            values = (
                node.args[:1]
                if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
                else node.args[1:2]
            )
        for value in values:
            try:
                now = ast.literal_eval(value)
            except ValueError:
                continue
            for other in OTHER_AXES.get(now, ()) if type(now) is int else ():
                yield 3, " works along another axis than it should.", value, str(other)

    def _of_comparison(self, node: ast.Compare) -> Iterator[tuple[int, str, ast.expr, str]]:
        left, right, kind = node.left, node.comparators[0], type(node.ops[0])
        if kind in (ast.Is, ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
            if name := self._name(left):
                words = f" takes a {name} of 0, or an empty one, for one that isn't given."
                yield 1, words, node, f"not {self._text(left)}" if kind is ast.Is else self._text(left)
        elif kind in _WIDER:
            signs = " and ".join(sorted((_SIGN[kind], _WIDER[kind])))
            words = f": only what lies exactly on a limit is wrong: {signs} are mixed up."
            yield 4, words, node, f"{self._text(left)} {_WIDER[kind]} {self._text(right)}"

    def _of_unary(self, node: ast.UnaryOp) -> Iterator[tuple[int, str, ast.expr, str]]:
        if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            yield 3, ": a sign is turned.", node, self._text(node.operand)
        elif isinstance(node.op, ast.Invert | ast.Not):
            name = self._name(node.operand)
            words = f" takes {name} the other way round." if name else ": true and false are mixed up."
            yield (1 if name else 3), words, node, self._text(node.operand)

    def _another(self, node: ast.Name) -> Iterator[tuple[int, str, ast.expr, str]]:
        """Another parameter of the same kind in this one's place."""
        kinds = self._kinds()
        for other, kind in kinds.items():
            if other != node.id and kind == kinds.get(node.id):
                yield 4, f" uses `{other}` where `{node.id}` is meant.", node, other

    def _kinds(self) -> dict[str, str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef) and self.known <= {a.arg for a in _arguments(node)}:
                return {
                    a.arg: ast.dump(a.annotation)
                    for a in _arguments(node)
                    if a.annotation is not None and a.arg in self.known
                }
        return {}

    # --- statements -------------------------------------------------------------------------------------

    def _of_blocks(self, function: ast.FunctionDef) -> Iterator[Change]:
        for node in ast.walk(function):
            if isinstance(node, ast.If | ast.IfExp | ast.While) and (name := self._name(node.test)):
                for value in ("True", "False") if not isinstance(node, ast.While) else ("False",):
                    words = f" answers as if {name} were always {value}."
                    if not name.startswith("what"):
                        yield self._change(0, words, node.test, value)
            elif isinstance(node, ast.Break):
                yield self._change(4, " goes on where it should stop.", node, "pass")
            elif isinstance(node, ast.Continue):
                yield self._change(4, " doesn't skip what it should.", node, "pass")


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """As ast.walk does, but past what an error says: its words are judged loosely."""
    if isinstance(node, ast.Raise):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _arguments(node: ast.FunctionDef) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def _defaults(node: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    positional = [*node.args.posonlyargs, *node.args.args]
    for argument, value in zip(
        positional[len(positional) - len(node.args.defaults) :], node.args.defaults, strict=True
    ):
        yield argument.arg, value
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if default is not None:
            yield argument.arg, default


def _parameters(stub: ast.Module) -> dict[str, set[str]]:
    """The parameters of each function of the stub, methods as "Class.method"."""
    found: dict[str, set[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = {a.arg for a in _arguments(node)}
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    found[f"{node.name}.{method.name}"] = {a.arg for a in _arguments(method)} - {"self"}
    return found


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_module(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in {"np", "numpy", "math", "torch", "F", "nn", "itertools", "re"}
