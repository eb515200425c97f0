"""The from-scratch rule as the code runs: a forbidden function knows who calls it.

While a kata is judged, each function that it forbids is replaced, wherever its library or
the learner's own modules hold it, by one that looks at its caller's file: the learner's is
told, everybody else (the oracle in a test, the library itself) gets what was always there.
So it doesn't matter by what name, alias or container the learner's code has come by it.

What is a whole package, a class, an operator or a builtin is left to `dojo.checks.scratch`,
which reads the source.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from dojo.checks.scratch import METHODS, resolved


class Guarded:
    # Stands for a function in every module that holds it.  (No docstring: `__doc__` is the function's, which
    # numpy.ma reads and rewrites when it is imported.)
    __slots__ = ("_function", "_name", "_watch")

    def __init__(self, function: Any, name: str, watch: Watch) -> None:
        self._function, self._name, self._watch = function, name, watch

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._watch.see(self._name, sys._getframe(1))
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # np.matmul is still a ufunc to whoever asks
        return type(self._function)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self._function.__doc__

    @property
    def __module__(self) -> Any:  # type: ignore[override]
        return self._function.__module__

    def __reduce__(self) -> Any:
        return resolved, (self._name,)

    def __repr__(self) -> str:
        return repr(self._function)

    def __eq__(self, other: object) -> bool:
        return bool(self._function == getattr(other, "_function", other)) or self is other

    def __hash__(self) -> int:
        return hash(self._function)


class Watch:
    """What is forbidden to whom: `caught` has the name, the file and the line of each use, in order."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()
        self.is_learners: Callable[[str], bool] = lambda file: False
        self.caught: list[tuple[str, str, int]] = []
        self._guards: dict[str, Guarded] = {}
        self._places: list[tuple[dict[str, Any], str, Any]] = []

    @contextmanager
    def over(self, names: tuple[str, ...], is_learners: Callable[[str], bool]) -> Iterator[Watch]:
        """Forbid `names` to the code in files that `is_learners`, in the block."""
        self.names, self.is_learners, self.caught = frozenset(names), is_learners, []
        for name in names:
            if name not in self._guards:
                self._replace(name)
        try:
            yield self
        finally:
            self.names = frozenset()

    def see(self, name: str, frame: Any) -> None:
        if name in self.names and self.is_learners(frame.f_code.co_filename):
            self.caught.append((name, frame.f_code.co_filename, frame.f_lineno))

    def _replace(self, name: str) -> None:
        if "." not in name or name.startswith((*METHODS, "builtins.")):
            return
        function = resolved(name)
        if function is None or isinstance(function, Guarded):
            return
        if not isinstance(function, FunctionType | BuiltinFunctionType) and not _is_of_c(function):
            return
        guard = self._guards[name] = Guarded(function, name, self)
        root = name.split(".")[0]
        for title, module in list(sys.modules.items()):
            if title.split(".")[0] in (root, "katas") and isinstance(module, ModuleType):
                held = vars(module)
                for key in [key for key, value in held.items() if value is function]:
                    self._places.append((held, key, function))
                    held[key] = guard

    def restore(self) -> None:
        """Put back what was replaced."""
        for held, key, function in reversed(self._places):
            held[key] = function
        self._places.clear()
        self._guards.clear()


def _is_of_c(function: Any) -> bool:
    """Functions that numpy makes in C: ufuncs, and those that ask __array_function__ first."""
    return type(function).__name__ in ("ufunc", "_ArrayFunctionDispatcher")
