"""Watching the calls from a test into a kata: do they leave their arguments alone, and which came last?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

from dojo.checks.compare import MISSING, Wrong, is_array, is_tensor


def kata_functions(test_module: ModuleType, kata_import: str) -> dict[str, Callable[..., Any]]:
    """The kata's functions as the test module knows them: its names → the functions."""
    return {
        name: value
        for name, value in vars(test_module).items()
        if callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) == kata_import
    }


@contextmanager
def replaced(test_module: ModuleType, functions: dict[str, Any]) -> Iterator[None]:
    """Names of the test module stand for other functions in the block."""
    names = vars(test_module)
    before = {name: names[name] for name in functions}
    names.update(functions)
    try:
        yield
    finally:
        names.update(before)


def keeps_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, raising Wrong where a call has changed an array, a list, a dict or a set that it was given."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            before = snapshot((args, kwargs))
        except RecursionError:  # a list that holds itself, or a tree that is deep: not watched
            before = MISSING
        answer = function(*args, **kwargs)
        if not same(before, (args, kwargs)):
            name = _changed_name(function, before, (args, kwargs))
            raise Wrong(
                "changed",
                f"{function.__name__}() changed its argument {name}",
                evidence=(function.__name__, name),
            )
        return answer

    return call


def _changed_name(function: Callable[..., Any], before: Any, after: Any) -> str:
    (old_args, old_kwargs), (args, kwargs) = before, after
    names = parameter_names(function)
    for i, (old, new) in enumerate(zip(old_args, args, strict=True)):
        if not same(old, new):
            return f"`{names[i]}`" if i < len(names) else f"number {i + 1}"
    return next(f"`{name}`" for name in kwargs if not same(old_kwargs[name], kwargs[name]))


def parameter_names(function: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters, in order; none where Python can't tell."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})


def snapshot(value: Any) -> Any:
    """A copy of the containers and arrays in `value`; everything else stays as it is."""
    if type(value) in _ATOMS:
        return value
    if is_tensor(value):
        return value.detach().clone()
    if is_array(value):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(snapshot(item) for item in value)
    if type(value) is dict:
        return {key: snapshot(item) for key, item in value.items()}
    return set(value) if type(value) is set else value


def same(before: Any, after: Any) -> bool:
    """Whether the containers and arrays in `after` hold what the snapshot `before` does."""
    if before is MISSING or (before is after and type(before) in _ATOMS):
        return True
    if is_array(before) != is_array(after):
        return False
    if is_tensor(before):
        torch_equal = before.shape == after.shape and before.dtype == after.dtype
        return bool(torch_equal and ((before == after) | ((before != before) & (after != after))).all())
    if is_array(before):
        if before.shape != after.shape or before.dtype != after.dtype:
            return False
        unequal = before != after
        if before.dtype.kind in "fc":
            unequal &= ~((before != before) & (after != after))
        return not unequal.any()
    if type(before) in (list, tuple):
        return type(before) is type(after) and len(before) == len(after) and all(map(same, before, after))
    if type(before) is dict:
        return (
            type(after) is dict and list(before) == list(after) and all(same(before[key], after[key]) for key in before)
        )
    if before is after:
        return True
    try:
        return bool(before == after)
    except Exception:  # objects that can't be compared, and aren't the same ones
        return False


class LastCall:
    """Remembers the last call into the kata: the function's name and its arguments."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.parameters: list[str] = []

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            self.name, self.args, self.kwargs = getattr(function, "__name__", "?"), args, kwargs
            self.parameters = parameter_names(function)
            return function(*args, **kwargs)

        return call
