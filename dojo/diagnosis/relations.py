"""Simple relations between a wrong array and the right one, each checked before it is said.

`describe` tries them from the strongest to the weakest and returns one sentence,
or None.  Both arrays have the same shape here; sizes of the inputs serve to
give a factor its name: 4 is less of a help than √16, the root of q's width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from dojo.checks.compare import isclose

MAX_AXES = 5
"""Arrays with more axes than this are not tried in every permutation."""


@dataclass(frozen=True)
class Size:
    """A number that the input holds, with words for it: Size(16, "axis 1 of q")."""

    value: int
    label: str


def describe(actual: Any, expected: Any, rtol: float, atol: float, sizes: list[Size]) -> str | None:
    """A sentence on how `actual` relates to `expected`, numpy arrays of one shape, or None."""
    if actual.shape != expected.shape or actual.dtype.kind not in "biufc" or expected.dtype.kind not in "biufc":
        return None
    if expected.size == 0:
        return None
    relation = _Relation(actual, expected, rtol, atol, sizes)
    for attempt in (
        relation.opposite,
        relation.zeros,
        relation.reordered_axes,
        relation.flipped,
        relation.negated,
        relation.rounded,
        relation.factor,
        relation.offset,
        relation.factor_per_slice,
        relation.partly_right,
        relation.reordered_slices,
    ):
        sentence = attempt()
        if sentence:
            return sentence
    return None


class _Relation:
    def __init__(self, actual: Any, expected: Any, rtol: float, atol: float, sizes: list[Size]) -> None:
        self.actual, self.expected = actual, expected
        self.rtol, self.atol = rtol, atol
        self.sizes = sizes
        self.finite = expected.dtype.kind in "b" or bool(np.isfinite(actual).all() and np.isfinite(expected).all())

    def _equal(self, one: Any, other: Any) -> bool:
        return bool(np.all(isclose(one, other, self.rtol, self.atol)))

    def _telling(self, array: Any) -> bool:
        """Whether `array` has enough different values for a coincidence to be out of the question."""
        return array.size >= 2 and np.unique(array[np.isfinite(array)] if self.is_float else array).size >= 2

    @property
    def is_float(self) -> bool:
        return self.expected.dtype.kind in "fc"

    def opposite(self) -> str | None:
        if self.expected.dtype.kind == "b" and self.expected.size > 1 and self._equal(self.actual, ~self.expected):
            return "Every truth value is the opposite of the expected one."
        return None

    def zeros(self) -> str | None:
        if self.expected.dtype.kind != "b" and self.expected.size > 1 and not np.any(self.actual):
            return "Your answer is all zeros."
        return None

    def reordered_axes(self) -> str | None:
        if not 2 <= self.expected.ndim <= MAX_AXES or not self._telling(self.expected):
            return None
        for axes in permutations(range(self.expected.ndim)):
            turned = self.expected.transpose(axes)
            if axes == tuple(range(self.expected.ndim)) or turned.shape != self.actual.shape:
                continue
            if self._equal(self.actual, turned):
                if self.expected.ndim == 2:
                    return "Your answer is the transpose of the expected one."
                return f"The axes are in another order: transpose your answer by {tuple(np.argsort(axes).tolist())}."
        return None

    def flipped(self) -> str | None:
        for axis in range(self.expected.ndim):
            if self.expected.shape[axis] > 1 and self._telling(self.expected):
                if self._equal(self.actual, np.flip(self.expected, axis)):
                    return f"Your answer is the expected one back to front{self._along(axis)}."
                for step in (1, -1):
                    if self.expected.shape[axis] > 2 and self._equal(self.actual, np.roll(self.expected, step, axis)):
                        way = "forward" if step == 1 else "back"
                        return f"Your answer is the expected one moved {way} by one{self._along(axis)}."
        return None

    def _along(self, axis: int) -> str:
        return f" along axis {axis}" if self.expected.ndim > 1 else ""

    def negated(self) -> str | None:
        if self.expected.dtype.kind in "ifc" and np.any(self.expected) and self._equal(self.actual, -self.expected):
            return "The sign is wrong: your answer is the negative of the expected one."
        if self.expected.dtype.kind in "ifc" and self._equal(np.abs(self.actual), np.abs(self.expected)):
            wrong = ~isclose(self.actual, self.expected, self.rtol, self.atol)
            if wrong.any():
                return f"Only signs are wrong: {_count(wrong, 'value')} {_have(wrong)} the opposite sign."
        return None

    def rounded(self) -> str | None:
        if not self.is_float or not self.finite or not np.any(self.expected):
            return None
        if np.array_equal(self.actual, np.round(self.actual)):
            return None  # whole numbers are short in any format
        for name, kind, digits in (("float16", np.float16, 3), ("float32", np.float32, 7)):
            if np.dtype(kind).itemsize >= self.expected.dtype.itemsize:
                continue
            with np.errstate(all="ignore"):
                as_narrow = self.actual.astype(kind)
                if np.array_equal(as_narrow.astype(self.actual.dtype), self.actual) and np.allclose(
                    self.actual, self.expected, rtol=8 * float(np.finfo(kind).eps), atol=self.atol
                ):
                    if np.array_equal(self.expected.astype(kind).astype(self.expected.dtype), self.expected):
                        continue  # the expected numbers are short themselves
                    return f"Every value is right to about {digits} digits only, and is a {name} number."
        return None

    def factor(self) -> str | None:
        if not self.finite or self.expected.dtype.kind == "b" or np.issubdtype(self.expected.dtype, np.complexfloating):
            return None
        actual, expected = self.actual.astype(float).ravel(), self.expected.astype(float).ravel()
        large = np.abs(expected) > max(1e-12, 1e3 * self.atol) if self.is_float else expected != 0
        if not large.any() or not np.all(isclose(actual[~large], expected[~large], self.rtol, 10 * self.atol)):
            return None
        ratios = actual[large] / expected[large]
        ratio = float(np.median(ratios))
        if _number(abs(ratio)) in ("0", "1") or not np.allclose(ratios, ratio, rtol=max(1e-6, 10 * self.rtol), atol=0):
            return None
        names = _factor_names(ratio, self.sizes)
        several = np.unique(np.abs(expected[large])).size >= 2
        if not several and (not names or not self.is_float):
            return None  # of one number, any other is some multiple
        text = f"Your answer is {_number(abs(ratio))} times the expected one"
        text += " with the sign turned" if ratio < 0 else ""
        return f"{text}{': ' + names if names else ''}."

    def offset(self) -> str | None:
        if not self.finite or self.expected.dtype.kind == "b" or np.issubdtype(self.expected.dtype, np.complexfloating):
            return None
        difference = (self.actual.astype(float) - self.expected.astype(float)).ravel()
        shift = float(np.median(difference))
        scale = float(np.abs(self.expected.astype(float)).max())
        if shift == 0 or not np.allclose(difference, shift, rtol=1e-6, atol=1e-9 * max(scale, 1.0)):
            return None
        if not self.is_float and abs(shift) == 1:
            more = "more" if shift > 0 else "less"
            return f"Off by one: your answer is 1 {more} than expected{' everywhere' if difference.size > 1 else ''}."
        named = _offset_name(abs(shift))
        if difference.size == 1 or np.unique(self.expected).size < 2:
            return None if not named else f"Your answer is {named} {'more' if shift > 0 else 'less'} than expected."
        more = "more" if shift > 0 else "less"
        return f"Every value is {named or _number(abs(shift))} {more} than expected."

    def factor_per_slice(self) -> str | None:
        """Each slice along one axis has a factor of its own: what a wrong normalisation gives."""
        if not self.finite or not self.is_float or self.expected.dtype.kind == "c" or self.expected.ndim < 2:
            return None
        for axis in range(self.expected.ndim):
            actual = np.moveaxis(self.actual, axis, 0).reshape(self.expected.shape[axis], -1)
            expected = np.moveaxis(self.expected, axis, 0).reshape(self.expected.shape[axis], -1)
            if actual.shape[0] < 2 or actual.shape[1] < 3 or np.any(np.abs(expected) < 1e-9):
                continue
            ratios = actual / expected
            first = ratios[:, :1]
            one_factor = np.allclose(first, first[0], rtol=1e-6, atol=0)
            if np.all(first != 0) and np.allclose(ratios, first, rtol=1e-6, atol=0) and not one_factor:
                return (
                    f"Each slice along axis {axis} is right but for a factor of its own, from "
                    f"{_number(float(first.min()))} to {_number(float(first.max()))}."
                )
        return None

    def partly_right(self) -> str | None:
        """Right but for some rows, heads or positions."""
        wrong = ~isclose(self.actual, self.expected, self.rtol, self.atol)
        if wrong.all() or self.expected.size < (4 if self.is_float else 8):
            return None
        share = 2 if self.is_float else 3  # whole numbers and truth values are often right by chance
        best: tuple[int, int, Any] | None = None
        for axis in range(wrong.ndim):
            others = tuple(i for i in range(wrong.ndim) if i != axis)
            where = np.flatnonzero(wrong.any(others) if others else wrong)
            length = wrong.shape[axis]
            if where.size * share <= length and (best is None or where.size * best[0] < best[2].size * length):
                best = (length, axis, where)
        if best is None:
            return None
        length, axis, where = best
        places = _runs(where.tolist(), length)
        if wrong.ndim == 1:
            return f"Right everywhere but at position {places}."
        return f"Right everywhere but at {places} along axis {axis}."

    def reordered_slices(self) -> str | None:
        """The same slices in another order along one axis."""
        if not self.finite or self.expected.dtype.kind in "bc":
            return None
        for axis in range(self.expected.ndim):
            if self.expected.shape[axis] < 3:
                continue
            actual = np.moveaxis(self.actual, axis, 0).reshape(self.expected.shape[axis], -1)
            expected = np.moveaxis(self.expected, axis, 0).reshape(self.expected.shape[axis], -1)
            if np.unique(expected, axis=0).shape[0] < 3:
                continue
            one = actual[np.lexsort(actual.T[::-1])]
            other = expected[np.lexsort(expected.T[::-1])]
            if self._equal(one, other):
                return f"The right values, in another order{self._along(axis)}."
        return None


def _factor_names(ratio: float, sizes: list[Size]) -> str:
    """What the factor equals: "4 = √16, and 16 is axis 1 of q"; two readings at most."""
    found: list[str] = []
    for value, text in _known_factors(sizes):
        if math.isclose(abs(ratio), value, rel_tol=1e-6) and text not in found:
            found.append(text)
    return " or ".join(found[:2])


def _known_factors(sizes: list[Size]) -> Iterator[tuple[float, str]]:
    yield from (
        (math.log(2), "ln 2, so the logarithm may have another base"),
        (1 / math.log(2), "1/ln 2, so the logarithm may have another base"),
        (math.log(10), "ln 10, so the logarithm may have another base"),
        (1 / math.log(10), "1/ln 10, so the logarithm may have another base"),
        (math.pi, "π"),
        (2 * math.pi, "2π"),
        (math.sqrt(2 * math.pi), "√(2π)"),
        (1 / math.sqrt(2 * math.pi), "1/√(2π)"),
        (180 / math.pi, "180/π, degrees in place of radians"),
        (math.pi / 180, "π/180, radians in place of degrees"),
    )
    seen: set[int] = set()
    for size in sizes:
        n = size.value
        if n < 2 or n in seen:
            continue
        seen.add(n)
        of = f"{n} is {size.label}"
        if n > 2:
            yield n / (n - 1), f"{n}/{n - 1}, as 1/(n−1) in place of 1/n gives, where {of}"
            yield (n - 1) / n, f"{n - 1}/{n}, as 1/n in place of 1/(n−1) gives, where {of}"
            yield float(n), f"{of}, as a sum in place of a mean gives"
            yield 1 / n, f"1/{n}, as a mean in place of a sum gives, where {of}"
            yield math.sqrt(n / (n - 1)), f"√({n}/{n - 1}), as n−1 in place of n gives under a root, where {of}"
            yield math.sqrt((n - 1) / n), f"√({n - 1}/{n}), as n in place of n−1 gives under a root, where {of}"
        yield math.sqrt(n), f"√{n}, where {of}"
        yield 1 / math.sqrt(n), f"1/√{n}, where {of}"
    yield math.sqrt(2), "√2"
    yield 1 / math.sqrt(2), "1/√2"


def _offset_name(shift: float) -> str | None:
    names = {
        math.log(2): "ln 2",
        math.log(10): "ln 10",
        math.pi: "π",
        2 * math.pi: "2π",
        0.5 * math.log(2 * math.pi): "½ ln 2π",
        math.log(2 * math.pi): "ln 2π",
    }
    return next((name for value, name in names.items() if math.isclose(shift, value, rel_tol=1e-7)), None)


def _number(value: float) -> str:
    return f"{value:.6g}"


def _count(mask: Any, noun: str) -> str:
    count = int(mask.sum())
    return f"{count} of {mask.size} {noun}s"


def _have(mask: Any) -> str:
    return "has" if int(mask.sum()) == 1 else "have"


def _runs(places: list[int], length: int) -> str:
    """Indices as a reader would say them: "0", "2 to 5 (the last)", "0, 3 and 7"."""
    if len(places) > 2 and places == list(range(places[0], places[-1] + 1)):
        text = f"{places[0]} to {places[-1]}"
    elif len(places) > 6:
        text = f"{', '.join(map(str, places[:5]))} … ({len(places)} of {length})"
    elif len(places) > 1:
        text = f"{', '.join(map(str, places[:-1]))} and {places[-1]}"
    else:
        text = str(places[0])
    if len(places) <= 6 and places[-1] == length - 1:
        text += " (the last)"
    return text
