"""What a learner's code may not do to the run around it, whatever it does by mistake.

It may skip its own test, close the streams, or give a builtin another meaning.  Each of
these would make the tests say something that they haven't found, so each is undone and told.
"""

from __future__ import annotations

import builtins
import contextlib
import math
import operator
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from dojo.checks.forbid import Guarded

DEEPEST = 20_000
"""Levels of recursion that a learner may ask for: endless recursion below that eats all memory first."""

KEPT_OF_SYS = ("exit", "modules", "getrefcount", "getsizeof", "intern", "settrace", "setprofile", "getrecursionlimit")


class NotJudged(Exception):
    """A test that came to no verdict; its text says why, in words for the learner."""


class Ledger:
    """What some modules held when the run began, so that what the learner's code changes is put back and named."""

    def __init__(self) -> None:
        self.books: list[tuple[str, ModuleType, dict[str, Any]]] = []
        for module in (builtins, math, operator):
            self.keep(module)
        # Not its values: time.tzset, which libraries call when they are imported, sets time.tzname anew.
        self.keep(time, tuple(name for name, value in vars(time).items() if name[0] != "_" and callable(value)))
        self.keep(sys, KEPT_OF_SYS)

    def keep(self, module: ModuleType, names: tuple[str, ...] = ()) -> None:
        """Remember the names of `module` (none given: all that don't begin with _)."""
        held = vars(module)
        chosen = names or tuple(name for name in held if not name.startswith("_"))
        self.books.append((module.__name__, module, {name: held[name] for name in chosen if name in held}))

    def changes(self) -> list[tuple[str, Any]]:
        """What isn't as it was: ("builtins.len", the new value or None), put back by now."""
        found = []
        for title, module, before in self.books:
            held = vars(module)
            for name, value in before.items():
                now = held.get(name)
                if now is not value and type(now) is not Guarded:
                    found.append((f"{title}.{name}", now))
                    held[name] = value
        return found


def told_of_changes(names: list[str]) -> str:
    """The sentence for what Ledger.changes() has found."""
    return (
        f"Your code changed {' and '.join(names)}, which Python and the tests use, too: "
        "give your own function or variable another name."
    )


@contextlib.contextmanager
def streams_kept() -> Iterator[None]:
    """sys.stdout and sys.stderr can't be closed in the block, and are what they were afterwards."""
    before = sys.stdout, sys.stderr
    closers = []
    for name, stream in (("sys.stdout", before[0]), ("sys.stderr", before[1])):
        with contextlib.suppress(AttributeError, TypeError):
            stream.close = _refuse(name)  # type: ignore[method-assign]
            closers.append(stream)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in closers:
            with contextlib.suppress(AttributeError):
                del stream.close


def _refuse(name: str) -> Callable[[], None]:
    def close() -> None:
        raise NotJudged(f"Your code closes {name}, which the tests and Python write to, too: leave it open.")

    return close


def cap_recursion() -> None:
    """Let sys.setrecursionlimit go no further than DEEPEST."""
    real = sys.setrecursionlimit
    if getattr(real, "capped", False):
        return

    def setrecursionlimit(limit: int) -> None:
        real(min(limit, DEEPEST) if isinstance(limit, int) else limit)

    setrecursionlimit.capped = True  # type: ignore[attr-defined]
    sys.setrecursionlimit = setrecursionlimit


def shorten(error: BaseException, ends: int = 50) -> None:
    """Leave out the middle of a traceback of thousands of levels: it takes minutes to read, and its ends are enough."""
    levels = []
    trace = error.__traceback__
    while trace is not None:
        levels.append(trace)
        trace = trace.tb_next
    if len(levels) > 3 * ends:
        levels[ends].tb_next = levels[-ends]


def passed_through(error: BaseException, solution: Path) -> bool:
    """Whether `error` came out of the learner's file `solution`, or of a helper that lies beside it."""
    trace = error.__traceback__
    beside = f"{solution.parent}{os.sep}"
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file == str(solution):
            return True
        name = file[len(beside) :] if file.startswith(beside) else "test_"
        if not name.startswith(("test_", "conftest")):
            return True
        trace = trace.tb_next
    return False


def way_out(error: BaseException) -> str | None:
    """The words for an exception that pytest takes for the test's own wish; None for all others."""
    import pytest

    judged_to_the_end = "a solution is judged to the end"
    if isinstance(error, pytest.skip.Exception) or _is_skip_test(error):
        return "skips the test: a solution doesn't choose what it is judged by"
    if isinstance(error, pytest.xfail.Exception):
        return "marks the test as meant to fail: a solution doesn't choose what it is judged by"
    if isinstance(error, pytest.exit.Exception):
        return f"ends the run of the tests (pytest.exit): {judged_to_the_end}"
    if isinstance(error, KeyboardInterrupt):
        return f"interrupts the run, as Ctrl-C does: {judged_to_the_end}"
    return None


def _is_skip_test(error: BaseException) -> bool:
    unittest = sys.modules.get("unittest")
    return unittest is not None and isinstance(error, unittest.SkipTest)
