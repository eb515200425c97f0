"""Judging another solution with tests that are collected already.

The tests hold the kata's functions by name.  To run a test against a patched
reference, the patched source becomes a module, and wherever the test module (or
a parameter of the test) holds an object of the old module, it gets the new
module's object of that name.  Nothing is imported again, so a swap costs
milliseconds; it is done in a forked child, so nothing has to be put back.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from dojo.curriculum.solutions import Unloadable


def module_from_source(source: str, name: str, path: Path) -> ModuleType:
    """A module `name` made by running `source`; tracebacks and inspect take it for the file `path`."""
    module = ModuleType(name)
    module.__file__ = str(path)
    # Triton's interpreter runs what inspect reads, which would be the file's text.  An entry without a
    # time of change is kept, as if a loader had given the text.
    linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
    code = _compiled(source, str(path))
    # Decorators such as dataclass look their class's module up while it runs.
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    finally:
        if before is not None:
            sys.modules[name] = before
    return module


@lru_cache(maxsize=64)
def _compiled(source: str, path: str) -> CodeType:
    return compile(source, path, "exec", dont_inherit=True)


def swap_in(items: Sequence[pytest.Item], old: ModuleType, new: ModuleType) -> None:
    """Make the tests `items`, which hold objects of the module `old`, hold those of `new`."""
    sys.modules[old.__name__] = new
    twins: dict[int, Any] = {id(old): new}
    for name, value in vars(old).items():
        own = not name.startswith("__") and getattr(value, "__module__", None) == old.__name__
        if own and name in vars(new):
            twins[id(value)] = vars(new)[name]
    constants = {
        name: value
        for name, value in vars(old).items()
        if not name.startswith("_") and id(value) not in twins and name in vars(new)
    }
    for test_module in {item.getparent(pytest.Module).obj for item in items if item.getparent(pytest.Module)}:  # type: ignore[union-attr]
        names = vars(test_module)
        for name, value in list(names.items()):
            if id(value) in twins:
                names[name] = twins[id(value)]
            elif (isinstance(value, Unloadable) and name in vars(new)) or (
                name in constants and value is constants[name]
            ):
                names[name] = vars(new)[name]
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None:
            for key, value in callspec.params.items():
                if id(value) in twins:
                    callspec.params[key] = twins[id(value)]
