"""Answers that are wrong on purpose, made by wrapping right functions.

The trivial answers of proof 5, and of proof 6 what no change of the text says
well: an output that is silently rounded, detached or computed from a changed input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any

from dojo.checks.compare import is_array, is_tensor

Spoil = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Makes a wrong answer of a right one and of the call's arguments."""


@dataclass
class Spoiled:
    """Whether there ever was something to spoil: text has no sign, and a number no gradient.

    An answer that was spoiled and came out the same, as the tests' input made
    it so, counts: it is the tests that should have told the two apart.
    """

    applied: bool = False


def zeros(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer's form, with nothing in it."""
    return _mapped(answer, lambda x: x * 0 if not _is_bool(x) else x & False, number=lambda x: type(x)(0), text="")


def first_argument(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What went in comes out."""
    return args[0] if args else next(iter(kwargs.values()), None)


def negated(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _mapped(answer, lambda x: ~x if _is_bool(x) else -x, number=lambda x: not x if isinstance(x, bool) else -x)


def detached(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The right answer, cut off from its gradient."""
    return _mapped(answer, lambda x: x.detach() if is_tensor(x) else x, number=lambda x: x)


def halved(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer, rounded to half precision and back."""

    def rounded(x: Any) -> Any:
        if is_tensor(x):
            return x.half().to(x.dtype) if x.is_floating_point() else x
        if x.dtype.kind not in "fc":
            return x
        import numpy as np

        narrow = np.float16 if x.dtype.kind == "f" else np.complex64
        with np.errstate(all="ignore"):
            return x.astype(narrow).astype(x.dtype)

    def number(x: Any) -> Any:
        import numpy as np

        with np.errstate(all="ignore"):
            return type(x)(np.float16(x)) if isinstance(x, float) else x

    return _mapped(answer, rounded, number=number)


def input_changed(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The right answer, but an argument was changed in place."""
    for value in (*args, *kwargs.values()):
        if is_array(value) and 0 not in value.shape:
            try:
                value[...] = ~value if _is_bool(value) else value + 1
            except (ValueError, TypeError, RuntimeError):  # read-only, or not of numbers
                continue
            return answer
        if type(value) is list and value:
            value.append(value[0])
            return answer
        if type(value) is dict and value:
            value.pop(next(iter(value)))
            return answer
    return answer


TRIVIAL: dict[str, Spoil] = {
    "zeros": zeros,
    "the first argument": first_argument,
    "the negated answer": negated,
    "the answer detached": detached,
}
WRAPPED: dict[str, Spoil] = {
    "output rounded to float16": halved,
    "output detached": detached,
    "an argument changed in place": input_changed,
}


def _leaves(answer: Any) -> Iterator[Any]:
    """The arrays, numbers and texts in an answer."""
    if isinstance(answer, list | tuple):
        for one in answer:
            yield from _leaves(one)
    elif isinstance(answer, dict):
        yield from _leaves(list(answer.values()))
    elif answer is not None:
        yield answer


def _kind(leaf: Any) -> str:
    """The kind of a leaf, as numpy's dtypes have it: "f", "i", "b", "U"…; "" for what is no array, number or text."""
    if is_tensor(leaf):
        return "f" if leaf.is_floating_point() else "c" if leaf.is_complex() else "b" if _is_bool(leaf) else "i"
    if hasattr(leaf, "dtype") and hasattr(leaf.dtype, "kind"):
        return str(leaf.dtype.kind)
    kinds = {bool: "b", int: "i", float: "f", complex: "c", str: "U"}
    return kinds.get(type(leaf), "")


def _has(kinds: str) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], bool]:
    return lambda answer, args, kwargs: any(_kind(leaf) in kinds and _kind(leaf) for leaf in _leaves(answer))


def _has_another_argument(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return answer is not None and bool(args or kwargs) and first_argument(answer, args, kwargs) is not answer


def _has_gradient(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(is_tensor(leaf) and leaf.requires_grad for leaf in _leaves(answer))


def _has_changeable_argument(answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    values = (*args, *kwargs.values())
    return any((is_array(v) and 0 not in v.shape) or (type(v) in (list, dict) and v) for v in values)


APPLIES: dict[Spoil, Spoil] = {
    zeros: _has("biufcU"),
    first_argument: _has_another_argument,
    negated: _has("biufc"),
    detached: _has_gradient,
    halved: _has("fc"),
    input_changed: _has_changeable_argument,
}


def _is_bool(x: Any) -> bool:
    return str(x.dtype).removeprefix("torch.") == "bool"


def _mapped(answer: Any, array: Callable[[Any], Any], number: Callable[[Any], Any], text: str | None = None) -> Any:
    """The answer with `array` applied to every array in it, `number` to every number, `text` for every string."""
    numpy = sys.modules.get("numpy")
    if is_array(answer) and (is_tensor(answer) or answer.dtype.kind in "biufc"):
        return array(answer)
    if isinstance(answer, bool | int | float | complex):
        return number(answer)
    if numpy is not None and isinstance(answer, numpy.generic) and answer.dtype.kind in "biufc":
        return array(answer)
    if isinstance(answer, str) and text is not None:
        return text
    if type(answer) in (tuple, list):
        return type(answer)(_mapped(one, array, number, text) for one in answer)
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        return type(answer)(*(_mapped(one, array, number, text) for one in answer))
    if isinstance(answer, dict):
        changed = copy(answer)  # a Counter stays one, and a defaultdict keeps its factory
        for key, one in answer.items():
            changed[key] = _mapped(one, array, number, text)
        return changed
    return answer


def spoiled(function: Callable[..., Any], spoil: Spoil, watch: Spoiled) -> Callable[..., Any]:
    """`function` with its answers spoiled; `watch` learns whether that ever made a difference."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        watch.applied = watch.applied or bool(APPLIES[spoil](answer, args, kwargs))
        return spoil(answer, args, kwargs)

    return call


def noting(function: Callable[..., Any], note: Spoil) -> Callable[..., Any]:
    """`function`, with `note` called on every answer and its call's arguments."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        note(answer, args, kwargs)
        return answer

    return call


def targets(module: ModuleType, names: list[str]) -> list[str]:
    """What can be spoiled among the public `names`: functions, and methods as "Class.method"."""
    found = []
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, type):
            found += [
                f"{name}.{method}"
                for method, function in vars(value).items()
                if isinstance(function, FunctionType) and (not method.startswith("_") or method == "__call__")
            ]
        elif callable(value) and getattr(value, "__module__", None) == module.__name__:
            found.append(name)
    return found


def spoil_in(module: ModuleType, target: str, spoil: Spoil) -> tuple[ModuleType, Spoiled]:
    """`module` as the tests shall see it, with one function or method spoiled, and what watches it.

    A function is spoiled for its callers outside only: that another function
    suffers from it, and is caught, would say nothing about this one's tests.
    """
    watch = Spoiled()
    view = view_of(module)
    wrap(view, target, lambda function: spoiled(function, spoil, watch))
    return view, watch


def view_of(module: ModuleType) -> ModuleType:
    """A module with the names of `module`, for the tests to see: its own functions go on seeing `module`."""
    view = ModuleType(module.__name__)
    view.__dict__.update(vars(module))
    return view


def wrap(view: ModuleType, target: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `wrapper(function)` in the place of the function, or "Class.method", `target`."""
    owner: Any = view
    *path, name = target.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, wrapper(getattr(owner, name)))
