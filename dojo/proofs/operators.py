"""The operators that make mutants: mutmut's, and what only numerical code gets wrong.

An operator takes a libcst node and yields nodes that could stand in its place.
mutmut's cover comparisons, ±, and/or, numbers, True and False, dropped
arguments; it has no axes, dropped terms, swapped arguments or removed calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import libcst as cst
from mutmut.mutation import mutators

Operator = tuple[type, Callable[[Any], Iterable[cst.CSTNode]]]

AXES = {"axis", "axes", "dim", "dims", "ord", "ddof", "keepdims"}
"""Arguments whose number is a choice among a few: each other one is tried."""

PRECAUTIONS = {"strict"}
"""Arguments that only make a programming error loud, so that no test can miss them."""

TWINS = {
    "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like", "ones_like": "zeros_like",
    "min": "max", "max": "min", "argmin": "argmax", "argmax": "argmin", "minimum": "maximum",
    "maximum": "minimum", "sum": "mean", "mean": "sum", "sin": "cos", "cos": "sin", "floor": "ceil",
    "ceil": "floor", "any": "all", "all": "any", "log": "log2", "log2": "log", "log1p": "log", "exp": "expm1",
    "var": "std", "std": "var", "tril": "triu", "triu": "tril", "amax": "amin", "amin": "amax",
    "prod": "sum", "cumsum": "cumprod", "median": "mean", "append": "extend",
}  # fmt: skip
"""Functions that are mistaken for each other."""

_OTHER_COMPARISON: dict[type[cst.BaseCompOp], Callable[[], cst.BaseCompOp]] = {
    cst.LessThan: cst.GreaterThan,
    cst.GreaterThan: cst.LessThan,
    cst.LessThanEqual: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.LessThanEqual,
}


def smaller_number(node: cst.Integer) -> Iterator[cst.CSTNode]:
    if node.evaluated_value > 0:
        yield node.with_changes(value=str(node.evaluated_value - 1))


def larger_float(node: cst.Float) -> Iterator[cst.CSTNode]:
    """Twice the number: adding 1 to 1e-12 isn't a slip that anyone makes."""
    if node.evaluated_value:
        yield node.with_changes(value=repr(2 * node.evaluated_value))


def other_axis(node: cst.Arg) -> Iterator[cst.CSTNode]:
    if node.keyword is None or node.keyword.value not in AXES:
        return
    now = cst.Module([]).code_for_node(node.value)
    # Of a matrix, 0 and -2 are one axis, and 1 and -1 the other.
    for other in {"0": ["1"], "1": ["0"], "-1": ["0", "-2"], "-2": ["-1"], "2": ["1"]}.get(now, []):
        yield node.with_changes(value=cst.parse_expression(other))


def one_term(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """a + b -> a, and -> b."""
    yield node.left
    yield node.right


def turned_comparison(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    other = _OTHER_COMPARISON.get(type(node.operator))
    if other is not None:
        yield node.with_changes(operator=other())


COMMUTATIVE = {"max", "min", "maximum", "minimum", "hypot", "gcd", "lcm", "logaddexp", "allclose", "array_equal"}
"""Functions whose arguments may come in any order."""


def swapped_arguments(node: cst.Call) -> Iterator[cst.CSTNode]:
    args = list(node.args)
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    if isinstance(name, cst.Name) and name.value in COMMUTATIVE:
        return
    for i in range(len(args) - 1):
        one, other = args[i], args[i + 1]
        if not (one.keyword or other.keyword or one.star or other.star):
            values = [arg.value for arg in args]
            values[i], values[i + 1] = values[i + 1], values[i]
            yield node.with_changes(args=[a.with_changes(value=v) for a, v in zip(args, values, strict=True)])


def removed_call(node: cst.Call) -> Iterator[cst.CSTNode]:
    """f(x) -> x, and x.f() -> x."""
    if isinstance(node.func, cst.Attribute) and not _is_module(node.func.value):
        yield node.func.value
    elif node.args and not node.args[0].star and not node.args[0].keyword:
        # A float and numpy's are alike to the tests, so float(x) -> x is no change, except of a text.
        is_float = isinstance(node.func, cst.Name) and node.func.value == "float"
        if not is_float or isinstance(node.args[0].value, cst.SimpleString):
            yield node.args[0].value


def _is_module(node: cst.BaseExpression) -> bool:
    """Whether `node` reads as a module: np, np.linalg, math."""
    while isinstance(node, cst.Attribute):
        node = node.value
    return isinstance(node, cst.Name) and node.value in {"np", "numpy", "math", "torch", "F", "nn", "itertools", "re"}


def twin_function(node: cst.Call) -> Iterator[cst.CSTNode]:
    func = node.func
    if isinstance(func, cst.Name) and func.value in TWINS:
        yield node.with_changes(func=func.with_changes(value=TWINS[func.value]))
    elif isinstance(func, cst.Attribute) and func.attr.value in TWINS:
        yield node.with_changes(func=func.with_changes(attr=cst.Name(TWINS[func.attr.value])))


def without_minus(node: cst.UnaryOperation) -> Iterator[cst.CSTNode]:
    if isinstance(node.operator, cst.Minus) and not isinstance(node.expression, cst.BaseNumber):
        yield node.expression


def wider_slice(node: cst.Slice) -> Iterator[cst.CSTNode]:
    if node.lower is not None:
        yield node.with_changes(lower=None)
    if node.upper is not None:
        yield node.with_changes(upper=None)
    if node.step is not None:
        yield node.with_changes(step=None, second_colon=cst.MaybeSentinel.DEFAULT)


def settled_condition(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """Only the condition is replaced; `while True` would try the deadline rather than the tests."""
    yield cst.Name("False")
    if isinstance(node, cst.If):
        yield cst.Name("True")


def without_transpose(node: cst.Attribute) -> Iterator[cst.CSTNode]:
    if node.attr.value in ("T", "mT", "real"):
        yield node.value


def dropped_arguments(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Each argument left out.  mutmut also puts None in its place, which hardly does more than crash."""
    if len(node.args) > 1:
        for i, dropped in enumerate(node.args):
            if dropped.keyword is not None and dropped.keyword.value in PRECAUTIONS:
                continue
            args = [*node.args[:i], *node.args[i + 1 :]]
            yield node.with_changes(args=[*args[:-1], args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)])


def removed_statement(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    """A statement that changes something, left out; without a plain assignment the name would be missing."""
    first = node.body[0]
    changes = isinstance(first, cst.AugAssign | cst.Raise | cst.Expr)
    if isinstance(first, cst.Assign):
        changes = any(not isinstance(t.target, cst.Name) for t in first.targets)
    if changes:
        yield node.with_changes(body=[cst.Pass()], leading_lines=[])


# mutmut's operators that say more than "it crashes": no None for a value, no text in other letters
# (messages aren't judged to the letter).
_FROM_MUTMUT = (
    mutators.operator_number,
    mutators.operator_name,
    mutators.operator_augmented_assignment,
    mutators.operator_remove_unary_ops,
    mutators.operator_symmetric_string_methods_swap,
    mutators.operator_keywords,
    mutators.operator_swap_op,
    mutators.operator_if_exp,
)

OPERATORS: list[Operator] = [
    *[(kind, operator) for kind, operator in mutators.mutation_operators if operator in _FROM_MUTMUT],
    (cst.Integer, smaller_number),
    (cst.Float, larger_float),
    (cst.Arg, other_axis),
    (cst.BinaryOperation, one_term),
    (cst.ComparisonTarget, turned_comparison),
    (cst.Call, swapped_arguments),
    (cst.Call, removed_call),
    (cst.Call, twin_function),
    (cst.Call, dropped_arguments),
    (cst.UnaryOperation, without_minus),
    (cst.Slice, wider_slice),
    (cst.Attribute, without_transpose),
    (cst.SimpleStatementLine, removed_statement),
]
