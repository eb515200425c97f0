"""What the tests of katas import: comparisons that the engine can explain, and the house's marks."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from types import FrameType, TracebackType
from typing import Any

import pytest

from dojo.checks.compare import MISSING, Wrong, close, equal

__all__ = ["Wrong", "assert_close", "assert_equal", "fail", "from_scratch", "pure", "python_steps", "raises"]

# This module's own frames are no news to a learner who asked for pytest's tracebacks.
__tracebackhide__ = True


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    check_dtype: bool = True,
    equal_nan: bool = True,
) -> None:
    """Check that `actual` is `expected`: type, shape, dtype, device, then |a - e| ≤ atol + rtol·|e|.

    Both may be numpy arrays, torch tensors, numbers, or tuples, lists and dicts
    of these.  A Python float, a numpy scalar and an array without axes are
    alike, and so are the widths of numpy's integers; a tuple and a list are
    alike; a list isn't an array.  The tolerances default to those that torch
    uses for the dtype of `expected` (float64: 1e-7 and 1e-7; float32: 1.3e-6
    and 1e-5); integers and truth values are exact.  NaN equals NaN unless
    `equal_nan` is False.

    Raises Wrong, an AssertionError that carries both answers for the diagnosis.
    """
    __tracebackhide__ = True
    close(actual, expected, rtol=rtol, atol=atol, check_dtype=check_dtype, equal_nan=equal_nan)


def assert_equal(actual: Any, expected: Any) -> None:
    """Check that `actual` is exactly `expected`: strings, numbers, None, lists, dicts, sets, arrays.

    Types count, except that Python's numbers and numpy's are alike.
    Raises Wrong at the first place where the two part.
    """
    __tracebackhide__ = True
    equal(actual, expected)


def fail(sentence: str, *, evidence: Any = MISSING) -> None:
    """Fail with a sentence for the learner.

    `evidence` is any value (numbers, text, arrays, tuples of them) that two
    wrong solutions have in common exactly when they make the same mistake.
    """
    __tracebackhide__ = True
    raise Wrong("own", sentence, evidence=evidence)


class raises:
    """`with raises(ValueError, 4, 5):` expects that exception, with 4 and 5 in its message.

    Each of `words` must be in the message, in any order and case.  A number
    must stand there as a number of that value, however it is written: 3 is found in
    "3x4", "3rd" and "3.0", 0.5 in "0.50", 1e-5 in "0.00001", 1000 in "1,000"; 4 isn't in
    14 or 0.4.  Of a tuple, such as a shape, every number must.  After the block,
    `.value` is the exception.

    Raises Wrong where the block raises nothing, something else, or says too little.
    """

    value: BaseException

    def __init__(self, expected: type[BaseException], *words: object) -> None:
        self.expected = expected
        self.words = words

    def __enter__(self) -> raises:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool:
        __tracebackhide__ = True
        name = self.expected.__name__
        if value is None:
            raise Wrong("raises", f"must raise {name}, but it raised nothing", evidence=("nothing",))
        if not isinstance(value, self.expected):
            # A stub's NotImplementedError is no wrong answer, and a deadline or Ctrl-C isn't the learner's.
            if isinstance(value, NotImplementedError | Wrong) or not isinstance(value, Exception):
                return False
            given = type(value).__name__
            message = f"must raise {name}, but it raised {given}: {value}"
            raise Wrong("raises", message, evidence=("another", given, str(value))) from value
        self.value = value
        missing = [str(word) for word in self._needles() if not _stands_in(word, str(value))]
        if missing:
            message = f"must name {' and '.join(missing)} in its {name}, which says: {str(value)!r}"
            raise Wrong("raises", message, evidence=("unnamed", *missing)) from value
        return True

    def _needles(self) -> list[object]:
        flat: list[object] = []
        for word in self.words:
            flat.extend(word if isinstance(word, tuple) else (word,))
        return flat


def _stands_in(word: object, text: str) -> bool:
    if isinstance(word, bool) or not isinstance(word, int | float) or not math.isfinite(word):
        return str(word).lower() in text.lower()
    return any(_is_number(word, number) for number in _numbers_in(text))


# 1,000 or 1_000; 3, 0.5 or .5; with an exponent or without.  It isn't a part of a word or of 1.2.3.
_NUMBER = re.compile(
    r"(?<!\w)(?<!\d\.)-?(?:(?:\d{1,3}(?:[,_]\d{3})+|\d+)(?:\.\d+)?|(?<!\.)\.\d+)(?:e[-+]?\d+)?(?!\w|\.\d)",
    re.IGNORECASE,
)


def _numbers_in(text: str) -> Iterator[str]:
    """Every number that can be read in a text, as Python would write it; a minus may be a dash, too."""
    text = text.replace("−", "-")
    text = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", text)
    while (apart := re.sub(r"(?<=\d)(?<!\b0)[x×](?=\d)", " ", text)) != text:  # 2x3x4, but not 0x10
        text = apart
    for found in _NUMBER.finditer(text):
        number = found[0]
        yield from (number, number.removeprefix("-"))
        if "," in number:
            yield number.replace(",", "")
            first, *rest = number.removeprefix("-").split(",")
            if not any(part.startswith("0") for part in rest):  # a shape as well: (1,200), but not (1,000)
                yield from (first, *rest)
    for found in re.finditer(r"(?<=[\d\])}])-(?=\d)", text):  # 0-3 is a range
        yield from (m[0] for m in [_NUMBER.match(text, found.end())] if m)


def _is_number(word: float, number: str) -> bool:
    try:
        value = Decimal(number.replace("_", ""))
    except InvalidOperation:  # it has commas
        return False
    if isinstance(word, int):
        return value == word
    return math.isclose(value, word, rel_tol=1e-9) or float(value) == float(f"{word:g}")


def from_scratch(*names: str) -> pytest.MarkDecorator:
    """Mark for a test file: the learner's file may not use what `names` name.

    A name is dotted: a function ("numpy.linalg.svd"), a whole module
    ("numpy.linalg"), a method of any array or text ("numpy.ndarray.dot",
    "str.encode"), or the operator "@".  The tests themselves may use all of these as oracles.
    """
    return pytest.mark.from_scratch(*names)


def pure(*exempt: str) -> pytest.MarkDecorator:
    """Mark for a test file: the kata's functions, but for those named, leave their arguments unchanged."""
    return pytest.mark.pure(*exempt)


HOUSE = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""Where the engine's own files lie."""


def python_steps(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """The number of lines of Python that run during `function(*args, **kwargs)`.

    A loop or a comprehension counts its line once a turn, so the number grows
    with the rows only where Python walks over them.  The function is called
    once before, so that what it imports or prepares at first isn't counted.
    Nor is what the house does around a call, such as looking whether arguments change.
    """
    function(*args, **kwargs)
    steps = 0

    def count(frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        nonlocal steps
        if frame.f_code.co_filename.startswith(HOUSE):
            return None
        steps += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        function(*args, **kwargs)
    finally:
        sys.settrace(before)
    return steps
