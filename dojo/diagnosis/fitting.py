"""Which of a kata's mistakes gives the learner's answer?

The failed test is run against the reference with each mistake patched in.  A
mistake fits where it fails at the same check with the same answer.  A lone True,
a missing exception or a 0 is an answer that many mistakes share, so on such thin
evidence, or where several mistakes fit, every other test of the same class must
end for the learner's code as it does for the mistake; else nothing is claimed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dojo.checks.compare import MISSING, Wrong, as_numpy, dtype_name, is_array, is_scalar, tolerances_for
from dojo.checks.deadline import DeadlineExceeded
from dojo.checks.replay import OPERANDS, replay
from dojo.checks.verdict import frames
from dojo.curriculum.katas import DojoError, Kata
from dojo.curriculum.patches import Patch, mistakes
from dojo.curriculum.swap import module_from_source, swap_in

AGREEMENT = 1e-3
"""Two wrong answers are one where they are this much nearer to each other than to the right one."""


MayDiffer = Callable[[pytest.Item, Patch | None], bool]
"""Whether a test may end otherwise with a mistake (None: with the learner's code) than with the reference."""


def fitting_mistakes(
    item: pytest.Function,
    kata: Kata,
    module: ModuleType,
    error: BaseException,
    seconds: float,
    may_differ: MayDiffer = lambda test, patch: True,
) -> list[str]:
    """The sentences of the mistakes that explain `error`; one as a rule, none where nothing is sure.

    What `may_differ` says can't fail isn't run.
    Runs in a forked child: it swaps modules and doesn't put them back.
    """
    if isinstance(error, Wrong) and error.kind == "forbidden":
        return []  # found in the text of the file, whatever it answers
    try:
        patches = mistakes(kata)
        source = kata.reference.read_text(encoding="utf-8")
        sources = [(patch, patch.apply(source)) for patch in patches]
    except (DojoError, OSError):
        return []
    end = time.monotonic() + seconds
    test_file = Path(item.path)
    mine = answer_of(item, error, test_file)
    # Where the right answer fails as well, the failure says nothing about the learner's.
    current = module_from_source(source, module.__name__, kata.reference)
    swap_in([item], module, current)
    if replay(item).error is not None:
        return []
    found: list[tuple[Patch, ModuleType]] = []
    for patch, text in sources:
        if time.monotonic() > end:
            return []
        if not may_differ(item, patch):
            continue
        try:
            mistaken = module_from_source(text, module.__name__, kata.reference)
        except Exception:
            continue
        swap_in([item], current, mistaken)
        current = mistaken
        theirs = replay(item).error
        if theirs is not None and agree(mine, answer_of(item, theirs, test_file)):
            found.append((patch, mistaken))
    if found and (len(found) > 1 or not mine.strong):
        found = _confirmed(item, module, current, found, test_file, end, may_differ)
    return list(dict.fromkeys(patch.says for patch, _ in found))[:2]


def _confirmed(
    item: pytest.Function,
    module: ModuleType,
    current: ModuleType,
    found: list[tuple[Patch, ModuleType]],
    test_file: Path,
    end: float,
    may_differ: MayDiffer,
) -> list[tuple[Patch, ModuleType]]:
    """Those of `found` under which the other tests of the class end as they do for the learner."""
    group = [
        i
        for i in item.session.items
        if isinstance(i, pytest.Function)
        and i.parent is item.parent
        and any(may_differ(i, patch) for patch in (None, *(patch for patch, _ in found)))
    ]
    swap_in(group, current, module)
    current = module
    mine = {}
    for other in group:
        if time.monotonic() > end:
            return []
        mine[other] = answer_of(other, replay(other).error, test_file)
    confirmed = []
    for patch, mistaken in found:
        swap_in(group, current, mistaken)
        current = mistaken
        if all(
            time.monotonic() < end and agree(mine[other], answer_of(other, replay(other).error, test_file))
            for other in group
        ):
            confirmed.append((patch, mistaken))
    return confirmed


class Answer:
    """What a test got from a solution, as far as two of them can be compared."""

    def __init__(self, error: BaseException | None) -> None:
        self.passed = error is None
        self.error = error
        self.line: int | None = None  # of the check that failed, in the test's file
        self.kind = ""
        self.where = ""
        self.value: Any = MISSING
        self.expected: Any = MISSING
        self.strong = False


def answer_of(item: pytest.Item, error: BaseException | None, test_file: Path) -> Answer:
    """The answer that a test ended with, from the error it raised."""
    answer = Answer(error)
    if error is None:
        return answer
    lines = [line for path, line, _ in frames(error) if path == test_file]
    answer.line = lines[-1] if lines else None
    answer.kind = type(error).__name__
    if isinstance(error, Wrong):
        answer.kind, answer.where, answer.expected = error.kind, error.where, error.expected
        if error.actual is not MISSING:
            answer.value = error.actual
        else:
            answer.value = error.message if error.evidence is MISSING else error.evidence
    elif isinstance(error, AssertionError) and (operands := item.stash.get(OPERANDS, None)) is not None:
        answer.value, answer.expected = operands
    else:
        answer.value = _without_addresses(str(error))
    answer.strong = isinstance(error, Wrong) and error.actual is not MISSING and telling(answer.value)
    return answer


def _without_addresses(text: str) -> str:
    import re

    return re.sub(r"0x[0-9a-f]+", "0x…", text)


def telling(value: Any) -> bool:
    """Whether a wrong answer is one that a different mistake would hardly give by chance."""
    import numpy as np

    if is_array(value) or is_scalar(value):
        array = as_numpy(value).ravel()
        if array.dtype.kind not in "iufc":
            return False
        values = array[np.isfinite(array)] if array.dtype.kind in "fc" else array
        fractions = values[values != np.round(values)] if array.dtype.kind == "f" else values[:0]
        return fractions.size >= 1 or np.unique(values).size >= 5
    if isinstance(value, list | tuple):
        return any(telling(one) for one in value)
    if isinstance(value, dict):
        return any(telling(one) for one in value.values())
    return isinstance(value, str | bytes) and len(value) >= 8


def agree(mine: Answer, theirs: Answer) -> bool:
    """Whether two answers are the same: both right, or wrong at the same check in the same way."""
    if mine.passed or theirs.passed:
        return mine.passed and theirs.passed
    if isinstance(mine.error, DeadlineExceeded) or isinstance(theirs.error, DeadlineExceeded):
        return False
    if (mine.line, mine.kind, mine.where) != (theirs.line, theirs.kind, theirs.where):
        return False
    if mine.kind in ("shape", "dtype", "type", "device") and is_array(mine.value) and is_array(theirs.value):
        same_form = tuple(mine.value.shape) == tuple(theirs.value.shape)
        if not same_form or dtype_name(mine.value) != dtype_name(theirs.value):
            return False
        return same_values(mine.value, theirs.value, MISSING)
    return same_values(mine.value, theirs.value, mine.expected)


def same_values(mine: Any, theirs: Any, expected: Any) -> bool:
    """Whether two wrong answers are equal, but for rounding that is small beside their distance from the right one."""
    import numpy as np

    if (is_array(mine) or is_scalar(mine)) and (is_array(theirs) or is_scalar(theirs)):
        one, other = as_numpy(mine), as_numpy(theirs)
        if one.shape != other.shape:
            return False
        if one.dtype.kind not in "fc" and other.dtype.kind not in "fc":
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
                    if apart.size and apart.max() > AGREEMENT * wrong.max():
                        return False
        return True
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        return len(mine) == len(theirs) and all(
            same_values(a, b, e) for a, b, e in zip(mine, theirs, _parts(expected, len(mine)), strict=True)
        )
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(same_values(mine[k], theirs[k], MISSING) for k in mine)
    try:
        return type(mine) is type(theirs) and bool(mine == theirs)
    except Exception:
        return False


def _parts(expected: Any, length: int) -> list[Any]:
    if isinstance(expected, list | tuple) and len(expected) == length:
        return list(expected)
    return [MISSING] * length
