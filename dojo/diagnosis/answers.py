"""What a test got from a solution, so far as two of them can be compared.

An answer comes from the error that a test ended with.  It can be sent from one
process to another: tensors lose their graph, and objects of the kata, which
can't be pickled by name, become their text.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dojo.checks.compare import MISSING, Wrong, as_numpy, dtype_name, is_array, is_scalar, is_tensor, tolerances_for
from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import OPERANDS
from dojo.checks.verdict import frames

AGREEMENT = 1e-3
"""Two wrong answers are one where they are this much nearer to each other than to the right one."""

DEPTH = 20
"""Containers within containers that are looked into: one may hold itself."""

UNKNOWN = "(nothing)"
"""Stands for MISSING, which is known by its identity, on the way between two processes."""


@dataclass
class Answer:
    """How one test ended: passed, or wrong in some way.

    line      of the check that failed, in the test's file
    late      it ran past its time
    value     the learner's answer at that check, MISSING where there is none; `expected` the other side
    """

    passed: bool = False
    late: bool = False
    line: int | None = None
    kind: str = ""
    where: str = ""
    value: Any = MISSING
    expected: Any = MISSING
    tolerances: tuple[float, float] = (0.0, 0.0)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        for name in ("value", "expected"):
            state[name] = UNKNOWN if state[name] is MISSING else state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name in ("value", "expected"):
            if isinstance(state[name], str) and state[name] == UNKNOWN:
                setattr(self, name, MISSING)


def portable(value: Any, depth: int = 0) -> Any:
    """`value` as it can be sent and compared: what can't be pickled becomes its text."""
    if is_tensor(value):
        return value.detach().clone()
    if type(value) in (list, tuple) and depth < 4:
        return type(value)(portable(one, depth + 1) for one in value)
    if type(value) is dict and depth < 4:
        return {key: portable(one, depth + 1) for key, one in value.items()}
    if type(value).__module__.startswith("katas.") and depth < 4:
        # Two solutions have two classes of one name.
        parts = list(value) if isinstance(value, tuple) else getattr(value, "__dict__", None)
        return (type(value).__name__, _without_addresses(repr(value)) if parts is None else portable(parts, depth + 1))
    try:
        pickle.dumps(value)
    except Exception:
        return _without_addresses(f"{type(value).__name__} {value!r}")
    return value


def answer_of(item: pytest.Item, error: BaseException | None, test_file: Path) -> Answer:
    """The answer that a test ended with, from the error it raised."""
    if error is None:
        return Answer(passed=True)
    answer = Answer(late=isinstance(error, DeadlineExceeded), kind=type(error).__name__)
    lines = [line for path, line, _ in frames(error) if path == test_file]
    answer.line = lines[-1] if lines else None
    if isinstance(error, Wrong):
        answer.kind, answer.where = error.kind, error.where
        answer.expected, answer.tolerances = error.expected, error.tolerances
        if error.actual is not MISSING:
            answer.value = error.actual
        else:
            answer.value = error.message if error.evidence is MISSING else error.evidence
    elif isinstance(error, AssertionError) and (operands := item.stash.get(OPERANDS, None)) is not None:
        answer.value, answer.expected = operands
    else:
        answer.value = _without_addresses(str(error))
    if answer.value is not MISSING:
        answer.value = portable(answer.value)
    if answer.expected is not MISSING:
        answer.expected = portable(answer.expected)
    return answer


def at_place(value: Any, where: str) -> Any:
    """What stands in a container at a place such as "[1]['mean']"; MISSING where nothing does."""
    while where:
        keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list | tuple) else ()
        key = next((key for key in keys if where.startswith(f"[{key!r}]")), MISSING)
        if key is MISSING:
            return MISSING
        value, where = value[key], where.removeprefix(f"[{key!r}]")
    return value


def _without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x…", text)


def agree(mine: Answer, theirs: Answer) -> bool:
    """Whether two answers are the same: both right, or wrong at the same check in the same way."""
    if mine.passed or theirs.passed:
        return mine.passed and theirs.passed
    if mine.late or theirs.late:
        return False
    if (mine.line, mine.kind, mine.where) != (theirs.line, theirs.kind, theirs.where):
        return False
    if mine.kind in ("shape", "dtype", "type", "device") and is_array(mine.value) and is_array(theirs.value):
        same_form = tuple(mine.value.shape) == tuple(theirs.value.shape)
        if not same_form or dtype_name(mine.value) != dtype_name(theirs.value):
            return False
        return same_values(mine.value, theirs.value, MISSING)
    return same_values(mine.value, theirs.value, mine.expected)


def same_values(mine: Any, theirs: Any, expected: Any, depth: int = 0) -> bool:
    """Whether two wrong answers are equal, but for rounding that is small beside their distance from the right one."""
    import numpy as np

    if (is_array(mine) or is_scalar(mine)) and (is_array(theirs) or is_scalar(theirs)):
        one, other = as_numpy(mine), as_numpy(theirs)
        if one.shape != other.shape:
            return False
        numeric = one.dtype.kind in "biufc" and other.dtype.kind in "biufc"  # an integer beyond 64 bits is an object
        if not numeric or (one.dtype.kind not in "fc" and other.dtype.kind not in "fc"):
            return bool(np.array_equal(one, other))
        rtol, atol = tolerances_for(mine if hasattr(mine, "dtype") else theirs, None, None)
        with np.errstate(all="ignore"):
            if not np.allclose(one, other, rtol=10 * rtol, atol=atol, equal_nan=True):
                return False
            if is_array(expected) or is_scalar(expected):
                right = as_numpy(expected)
                if right.shape == one.shape and right.dtype.kind in "biufc":
                    finite = np.isfinite(one) & np.isfinite(other) & np.isfinite(right)
                    apart = np.abs(one[finite].astype(complex) - other[finite])
                    wrong = np.abs(one[finite].astype(complex) - right[finite])
                    lost = np.isfinite(right) & ~np.isfinite(one)  # infinitely far from the right one
                    if apart.size and not lost.any() and apart.max() > AGREEMENT * wrong.max():
                        return False
        return True
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        return (
            depth < DEPTH
            and len(mine) == len(theirs)
            and all(
                same_values(a, b, e, depth + 1)
                for a, b, e in zip(mine, theirs, _parts(expected, len(mine)), strict=True)
            )
        )
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return (
            depth < DEPTH
            and mine.keys() == theirs.keys()
            and all(same_values(mine[k], theirs[k], MISSING, depth + 1) for k in mine)
        )
    try:
        return type(mine) is type(theirs) and bool(mine == theirs)
    except Exception:
        return False


def _parts(expected: Any, length: int) -> list[Any]:
    if isinstance(expected, list | tuple) and len(expected) == length:
        return list(expected)
    return [MISSING] * length
