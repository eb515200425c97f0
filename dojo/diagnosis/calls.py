"""What a test called of the kata, and with what: recorded while a failed test is run again.

The tests see a view of the solution's module whose functions note their calls; a
class stays itself and has its methods noted.  Only what the test itself calls counts,
not what the solution calls of its own.  For a forked child: nothing is put back.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any

from dojo.checks.compare import describe_type, dtype_name, is_array, is_scalar, is_tensor
from dojo.checks.guard import parameter_names

WHOLE = 8
"""Numbers of an array up to which it is shown whole."""

WIDTH = 48
"""Characters of a value up to which it is shown whole."""

CALLS = 5
"""Calls of one object that are shown: the last ones."""

QUIET = {"__repr__", "__str__", "__hash__", "__eq__", "__new__", "__del__", "__init_subclass__", "__class_getitem__"}
"""Methods that Python calls of itself."""


@dataclass(eq=False)  # each is itself alone: arrays among the answers can't be compared by ==
class Call:
    """One call from a test: of the function or class `name`, with its arguments as they were then.

    text     as the learner shall read it: "softmax(x (2, 5), dim=-1)", ".forward(x (2, 3))" of an object
    owner    the object whose method it is, None for a function
    answer   what it returned
    sizes    the sizes among its arguments, each with words for it: (16, "axis 1 of q")
    gradient the arguments that ask for a gradient
    """

    name: str
    text: str
    owner: Any = None
    answer: Any = None
    sizes: list[tuple[int, str]] = field(default_factory=list)
    gradient: list[str] = field(default_factory=list)


class Recorder:
    """Notes the calls from the tests into one module.

    blind  while True nothing is noted, and so nothing that was given or answered is kept alive
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.file = getattr(module, "__file__", None)
        self.calls: list[Call] = []
        self.blind = False
        self._depth = 0

    def view(self) -> ModuleType:
        """The module as the tests shall see it; its classes are changed where they stand."""
        view = ModuleType(self.module.__name__)
        view.__dict__.update(vars(self.module))
        for name, value in vars(self.module).items():
            if getattr(value, "__module__", None) != self.module.__name__:
                continue
            if isinstance(value, FunctionType):
                vars(view)[name] = self._noting(value, value.__name__, method=False)
            elif isinstance(value, type):
                self._note_methods(value)
        return view

    def _note_methods(self, cls: type) -> None:
        torch = sys.modules.get("torch")
        if torch is not None and issubclass(cls, torch.autograd.Function):
            return  # torch calls its methods, with arguments that the test never gave
        for name, value in list(vars(cls).items()):
            shown = name not in QUIET and (not name.startswith("_") or name.startswith("__"))
            if shown and isinstance(value, FunctionType):
                try:
                    setattr(cls, name, self._noting(value, cls.__name__, method=True))
                except (AttributeError, TypeError):
                    return

    def _noting(self, function: Callable[..., Any], name: str, method: bool) -> Callable[..., Any]:
        parameters = parameter_names(function)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if self.blind or self._depth or sys._getframe(1).f_code.co_filename == self.file:
                return function(*args, **kwargs)
            given, named = (args[1:], parameters[1:]) if method else (args, parameters)
            arguments = list(zip([*named, *("" for _ in given)], given, strict=False))
            arguments += list(kwargs.items())
            noted = Call(name, _text(function.__name__, name, method, arguments), args[0] if method and args else None)
            noted.sizes = sizes_in(arguments)
            noted.gradient = [n for n, v in arguments if n and is_tensor(v) and v.requires_grad]
            self.calls.append(noted)
            self._depth += 1
            try:
                noted.answer = function(*args, **kwargs)
                return noted.answer
            finally:
                self._depth -= 1

        return call

    @property
    def names(self) -> set[str]:
        return {call.name for call in self.calls}

    def behind(self, value: Any) -> Call | None:
        """The call that gave `value`, else the last one that the test made."""
        by_identity = (call for call in reversed(self.calls) if any(part is value for part in parts(call.answer)))
        last = self.calls[-1] if self.calls else None
        return (next(by_identity, last) if is_array(value) else last) or None

    def story(self, call: Call) -> list[str]:
        """The call in words; of an object, how it was made and what else was called of it before."""
        if call.owner is None:
            return [call.text]
        of_it = [c for c in self.calls if c.owner is call.owner]
        of_it = of_it[: of_it.index(call) + 1]
        lines = [c.text for c in of_it]
        if len(lines) > CALLS + 1:
            left_out = len(lines) - 1 - CALLS
            lines = [lines[0], f"  … {left_out} call{'s' if left_out > 1 else ''}", *lines[-CALLS:]]
        return lines


def parts(answer: Any) -> list[Any]:
    """An answer, and what stands in it."""
    if isinstance(answer, list | tuple):
        return [answer, *answer[:20]]
    return [answer, *answer.values()] if isinstance(answer, dict) else [answer]


def _text(function: str, name: str, method: bool, arguments: list[tuple[str, Any]]) -> str:
    inside = ", ".join(shown(n, value) for n, value in arguments)
    if not method:
        return f"{name}({inside})"
    if function == "__init__":
        return f"{name}({inside})"
    return f"  ({inside})" if function in ("__call__", "forward") else f"  .{function}({inside})"


def shown(name: str, value: Any) -> str:
    """An argument as the learner reads it: whole where it is small, its form where it isn't."""
    if is_array(value) and len(value.shape):
        count = 1
        for n in value.shape:
            count *= int(n)
        if count <= WHOLE and str(getattr(value, "device", "cpu")) == "cpu" and len(text := _numbers(value)) <= WIDTH:
            return _named(name, text)
        kind = dtype_name(value)
        usual = "float32" if is_tensor(value) else "float64"
        form = f"{tuple(int(n) for n in value.shape)}{'' if kind == usual else ' ' + kind}"
        return f"{name} {form}".strip()
    if is_scalar(value):
        return _named(name, _number(value))
    if isinstance(value, str | bytes):
        text = repr(value)
        return _named(name, text if len(text) <= WIDTH else f"{text[:WIDTH]}…")
    if isinstance(value, type) or callable(value):
        return _named(name, getattr(value, "__name__", type(value).__name__))
    if value is None or isinstance(value, slice | range):
        return _named(name, str(value))
    if isinstance(value, list | tuple | dict | set | frozenset):
        text = repr(value) if len(value) <= WIDTH else ""
        if text and len(text) <= WIDTH and " at 0x" not in text:
            return _named(name, re.sub(r"np\.\w+\(([^()]*)\)", r"\1", text))
        return f"{name} ({describe_type(value)} of {len(value)})".strip()
    return f"{name} ({describe_type(value)})".strip()


def _named(name: str, text: str) -> str:
    return f"{name}={text}" if name else text


def _numbers(value: Any) -> str:
    try:
        listed = value.tolist()
    except Exception:
        return " " * (WIDTH + 1)
    return _listed(listed)


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_listed, value))}]"
    return _number(value)


def _number(value: Any) -> str:
    if isinstance(value, bool | int | str):
        return str(value)
    with contextlib.suppress(AttributeError, ValueError, RuntimeError):
        value = value.item()
    return f"{value:.4g}" if isinstance(value, float | complex) else str(value)


def sizes_in(arguments: list[tuple[str, Any]]) -> list[tuple[int, str]]:
    """The sizes among the arguments, with words for them."""
    sizes: list[tuple[int, str]] = []
    for i, (name, value) in enumerate(arguments):
        label = name or f"argument {i + 1}"
        if is_array(value) and len(value.shape):
            for axis, n in enumerate(value.shape):
                which = "the length" if len(value.shape) == 1 else f"axis {axis}"
                sizes.append((int(n), f"{which} of {label}"))
        elif isinstance(value, list | tuple):
            sizes.append((len(value), f"the length of {label}"))
        elif isinstance(value, int) and not isinstance(value, bool):
            sizes.append((value, label))
    return sizes
