"""Simple relations between a wrong array and the right one, each checked before it is said.

`relations` finds those that hold in one test, from the strongest to the weakest;
`common` keeps what holds in all failing tests of a function and isn't refuted by its
passing ones.  Both arrays have the same shape here; sizes of the inputs serve to
give a factor its name: 4 is less of a help than √16, the root of q's width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from dojo.checks.compare import isclose

MAX_AXES = 5
"""Arrays with more axes than this are not tried in every permutation."""

ROUNDING = 1e-3
"""Differences below this share of the largest number may come of rounding: where they lie says nothing."""

Size = tuple[int, str]
"""A number that the input holds, with words for it: (16, "axis 1 of q")."""


@dataclass(frozen=True)
class Relation:
    """How an answer relates to the right one.

    key       what it has in common with the same relation in another test, whatever the sizes there
    sentence  what the learner is told
    apply     what the right answer becomes under it, given the sizes of that test; None where that can't be told
    size      the size that it is named after
    """

    key: tuple[Any, ...]
    sentence: str
    apply: Callable[[Any, Sequence[Size]], Any] | None = None
    size: int | None = None


def relations(actual: Any, expected: Any, rtol: float, atol: float, sizes: Sequence[Size]) -> list[Relation]:
    """The relations of `actual` to `expected`, numpy arrays of one shape, the strongest first."""
    if actual.shape != expected.shape or actual.dtype.kind not in "biufc" or expected.dtype.kind not in "biufc":
        return []
    if expected.size == 0:
        return []
    relation = _Relations(actual, expected, rtol, atol, sizes)
    return [
        found
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
        )
        for found in attempt()
    ]


def describe(actual: Any, expected: Any, rtol: float, atol: float, sizes: Sequence[Size]) -> str | None:
    """A sentence on how `actual` relates to `expected` in one test by itself, or None."""
    return sentence(relations(actual, expected, rtol, atol, sizes))


def common(
    first: list[Relation],
    others: Iterable[list[Relation]],
    right: Iterable[tuple[Any, Any, tuple[float, float], Sequence[Size]]],
) -> list[Relation]:
    """The relations of `first` that hold in all `others`, too, the strongest first.

    right   (answer, expected, tolerances, sizes) of tests that pass: a relation that would have
            spoiled one of these isn't what is wrong
    A factor is named after a size only where two tests with different sizes bear it out.
    """
    others = list(others)
    kept = []
    for relation in first:
        same = [next((r for r in other if r.key == relation.key), None) for other in others]
        if any(one is None for one in same):
            continue
        if relation.size is not None and len({relation.size, *(one.size for one in same if one is not None)}) < 2:
            continue
        kept.append(relation)
    right = list(right)
    return [relation for relation in kept if not any(_refuted(relation, *one) for one in right)]


def _refuted(
    relation: Relation, actual: Any, expected: Any, tolerances: tuple[float, float], sizes: Sequence[Size]
) -> bool:
    if relation.apply is None or expected.dtype.kind not in "biufc" or expected.size == 0:
        return False
    try:
        with np.errstate(all="ignore"):
            spoiled = relation.apply(expected, sizes)
    except (TypeError, ValueError):
        return False
    if spoiled is None or spoiled.shape != expected.shape:
        return False
    return not bool(np.all(isclose(spoiled, expected, *tolerances)))


def sentence(found: list[Relation]) -> str | None:
    """What is said of the relations of one answer: the first's sentence; a factor may have two readings."""
    if not found:
        return None
    readings = [r for r in found if r.key[:2] == ("factor", "of")]
    if len(readings) > 1 and found[0] is readings[0]:
        return f"{readings[0].sentence.removesuffix('.')} or {readings[1].sentence.split(': ', 1)[1]}"
    return found[0].sentence


class _Relations:
    def __init__(self, actual: Any, expected: Any, rtol: float, atol: float, sizes: Sequence[Size]) -> None:
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

    @property
    def wrong(self) -> Any:
        return ~isclose(self.actual, self.expected, self.rtol, self.atol)

    def opposite(self) -> Iterator[Relation]:
        if self.expected.dtype.kind == "b" and self.expected.size > 1 and self._equal(self.actual, ~self.expected):
            yield Relation(
                ("opposite",), "Every truth value is the opposite of the expected one.", lambda e, s: _flipped_truth(e)
            )

    def zeros(self) -> Iterator[Relation]:
        if self.expected.dtype.kind != "b" and self.expected.size > 1 and not np.any(self.actual):
            yield Relation(("zeros",), "Your answer is all zeros.", lambda e, s: 0 * e)

    def reordered_axes(self) -> Iterator[Relation]:
        if not 2 <= self.expected.ndim <= MAX_AXES or not self._telling(self.expected):
            return
        for axes in permutations(range(self.expected.ndim)):
            turned = self.expected.transpose(axes)
            if axes == tuple(range(self.expected.ndim)) or turned.shape != self.actual.shape:
                continue
            if self._equal(self.actual, turned):
                text = f"The axes are in another order: transpose your answer by {tuple(np.argsort(axes).tolist())}."
                if self.expected.ndim == 2:
                    text = "Your answer is the transpose of the expected one."
                key = _last_axes(axes)
                yield Relation(("axes", key), text, partial(_with_last_axes, key))
                return

    def flipped(self) -> Iterator[Relation]:
        for axis in range(self.expected.ndim):
            if self.expected.shape[axis] < 2 or not self._telling(self.expected):
                continue
            last = axis - self.expected.ndim
            if self._equal(self.actual, np.flip(self.expected, axis)):
                text = f"Your answer is the expected one back to front{self._along(axis)}."
                yield Relation(("flip", last), text, partial(_flip, last))
                return
            for step in (1, -1):
                if self.expected.shape[axis] > 2 and self._equal(self.actual, np.roll(self.expected, step, axis)):
                    way = "forward" if step == 1 else "back"
                    text = f"Your answer is the expected one moved {way} by one{self._along(axis)}."
                    yield Relation(
                        ("roll", step, last),
                        text,
                        partial(_roll, step, last),
                    )
                    return

    def _along(self, axis: int) -> str:
        return f" along axis {axis}" if self.expected.ndim > 1 else ""

    def negated(self) -> Iterator[Relation]:
        if self.expected.dtype.kind not in "ifc":
            return
        # -1 and 1 are what masks, labels and marks for "none" are made of: a turned sign there is no sign.
        plain = self.expected[np.isfinite(self.expected)] if self.is_float else self.expected
        sizes = np.unique(np.abs(plain[plain != 0]))
        if sizes.size < 2 and not (self.is_float and np.any(sizes != np.round(sizes))):
            return
        if self._equal(self.actual, -self.expected):
            yield Relation(
                ("negated",), "The sign is wrong: your answer is the negative of the expected one.", lambda e, s: -e
            )
        elif self._equal(np.abs(self.actual), np.abs(self.expected)) and self.wrong.any():
            turned = np.abs(self.expected[self.wrong])
            if np.all(turned == 1) and np.all(self.expected == np.round(self.expected)):
                return
            count = f"{_count(self.wrong, 'value')} {_have(self.wrong)} the opposite sign"
            yield Relation(("signs",), f"Only signs are wrong: {count}.")

    def rounded(self) -> Iterator[Relation]:
        if not self.is_float or not self.finite or not np.any(self.expected):
            return
        if np.array_equal(self.actual, np.round(self.actual)):
            return  # whole numbers are short in any format
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
                    text = f"Every value is right to about {digits} digits only, and is a {name} number."
                    yield Relation(("rounded", name), text)
                    return

    def factor(self) -> Iterator[Relation]:
        if not self.finite or self.expected.dtype.kind == "b" or np.issubdtype(self.expected.dtype, np.complexfloating):
            return
        actual, expected = self.actual.astype(float).ravel(), self.expected.astype(float).ravel()
        large = np.abs(expected) > max(1e-12, 1e3 * self.atol) if self.is_float else expected != 0
        if not large.any() or not np.all(isclose(actual[~large], expected[~large], self.rtol, 10 * self.atol)):
            return
        ratios = actual[large] / expected[large]
        ratio = float(np.median(ratios))
        if _number(abs(ratio)) in ("0", "1") or not np.allclose(ratios, ratio, rtol=max(1e-6, 10 * self.rtol), atol=0):
            return
        readings = list(_readings(ratio, self.sizes))
        several = np.unique(np.abs(expected[large])).size >= 2
        if not several and (not readings or not self.is_float):
            return  # of one number, any other is some multiple
        text = f"Your answer is {_number(abs(ratio))} times the expected one"
        text += " with the sign turned" if ratio < 0 else ""
        sign = -1 if ratio < 0 else 1
        for reading in readings:
            yield Relation(
                ("factor", "of", reading.name, sign),
                f"{text}: {reading.text}.",
                partial(_times, reading, sign),
                reading.size,
            )
        if several:
            yield Relation(("factor", f"{ratio:.5g}"), f"{text}.", lambda e, s: e * ratio)

    def offset(self) -> Iterator[Relation]:
        if not self.finite or self.expected.dtype.kind == "b" or np.issubdtype(self.expected.dtype, np.complexfloating):
            return
        difference = (self.actual.astype(float) - self.expected.astype(float)).ravel()
        shift = float(np.median(difference))
        scale = float(np.abs(self.expected.astype(float)).max())
        if shift == 0 or not np.allclose(difference, shift, rtol=1e-6, atol=1e-9 * max(scale, 1.0)):
            return
        more = "more" if shift > 0 else "less"
        if np.unique(self.expected).size < (2 if self.is_float else 3):
            # One number is always some distance from another, and an index or a token's id is no measure.
            named = _offset_name(abs(shift)) if self.is_float else None
            if named:
                yield Relation(("offset", named, more), f"Your answer is {named} {more} than expected.")
            return
        text = _offset_name(abs(shift)) or _number(abs(shift))
        yield Relation(("offset", text, more), f"Every value is {text} {more} than expected.", lambda e, s: e + shift)

    def factor_per_slice(self) -> Iterator[Relation]:
        """Each slice along one axis has a factor of its own: what a wrong normalisation gives."""
        if not self.finite or not self.is_float or self.expected.dtype.kind == "c" or self.expected.ndim < 2:
            return
        for axis in range(self.expected.ndim):
            actual = np.moveaxis(self.actual, axis, 0).reshape(self.expected.shape[axis], -1)
            expected = np.moveaxis(self.expected, axis, 0).reshape(self.expected.shape[axis], -1)
            if actual.shape[0] < 2 or actual.shape[1] < 3 or np.any(np.abs(expected) < 1e-9):
                continue
            ratios = actual / expected
            first = ratios[:, :1]
            one_factor = np.allclose(first, first[0], rtol=1e-6, atol=0)
            if np.all(first != 0) and np.allclose(ratios, first, rtol=1e-6, atol=0) and not one_factor:
                text = (
                    f"Each slice along axis {axis} is right but for a factor of its own, from "
                    f"{_number(float(first.min()))} to {_number(float(first.max()))}."
                )
                yield Relation(("slices", axis - self.expected.ndim), text)
                return

    def partly_right(self) -> Iterator[Relation]:
        """Right but for some rows, heads or positions."""
        wrong = self.wrong
        if wrong.all() or self.expected.size < (4 if self.is_float else 8) or self._like_rounding():
            return
        share = 2 if self.is_float else 3  # whole numbers and truth values are often right by chance
        best: tuple[int, int, Any] | None = None
        for axis in range(wrong.ndim):
            others = tuple(i for i in range(wrong.ndim) if i != axis)
            where = np.flatnonzero(wrong.any(others) if others else wrong)
            length = wrong.shape[axis]
            if where.size * share <= length and (best is None or where.size * best[0] < best[2].size * length):
                best = (length, axis, where)
        if best is None:
            return
        length, axis, where = best
        places = _runs(where.tolist(), length)
        text = f"Right everywhere but at {places} along axis {axis}."
        if wrong.ndim == 1:
            text = f"Right everywhere but at position {places}."
        yield Relation(("partly", axis - wrong.ndim), text)

    def _like_rounding(self) -> bool:
        """Whether no difference is larger than rounding may make it: of whole numbers, one."""
        if self.expected.dtype.kind not in "iuf" or self.actual.dtype.kind not in "iuf":
            return False
        if not self.finite:
            return False
        gap = np.abs(self.actual.astype(float) - self.expected.astype(float))
        if self.expected.dtype.kind in "iu":
            return bool(gap.max() <= 1)
        return bool(gap.max() <= ROUNDING * np.abs(self.expected.astype(float)).max())

    def reordered_slices(self) -> Iterator[Relation]:
        """The same slices in another order along one axis."""
        if not self.finite or self.expected.dtype.kind in "bc":
            return
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
                text = f"The right values, in another order{self._along(axis)}."
                last = axis - self.expected.ndim
                # Some other order, of which it is enough to know that it isn't the right one.
                yield Relation(("order", last), text, partial(_roll, 1, last))
                return


def _flipped_truth(expected: Any) -> Any:
    return ~expected if expected.dtype.kind == "b" else None


def _last_axes(axes: tuple[int, ...]) -> tuple[int, ...]:
    """A permutation of axes without the leading ones that it leaves alone, counted from the end."""
    start = next(i for i, axis in enumerate(axes) if axis != i)
    return tuple(axis - len(axes) for axis in axes[start:])


def _with_last_axes(key: tuple[int, ...], array: Any, sizes: Sequence[Size]) -> Any:
    if array.ndim < len(key):
        return None
    rest = array.ndim - len(key)
    return array.transpose([*range(rest), *(axis + array.ndim for axis in key)])


def _flip(axis: int, array: Any, sizes: Sequence[Size]) -> Any:
    return np.flip(array, axis) if array.ndim >= -axis else None


def _roll(step: int, axis: int, array: Any, sizes: Sequence[Size]) -> Any:
    return np.roll(array, step, axis) if array.ndim >= -axis else None


def _times(reading: _Reading, sign: int, array: Any, sizes: Sequence[Size]) -> Any:
    value = reading.value_in(sizes)
    return None if value is None else sign * value * array


@dataclass(frozen=True)
class _Reading:
    """What a factor may be: a known number, or one that follows from a size of the input."""

    name: str
    text: str
    value: float
    size: int | None = None
    of: Callable[[int], float] | None = None
    label: str = ""

    def value_in(self, sizes: Sequence[Size]) -> float | None:
        """The factor in a test with other sizes."""
        if self.of is None:
            return self.value
        n = next((n for n, label in sizes if label == self.label), None)
        return None if n is None or n < 2 else self.of(n)


def _readings(ratio: float, sizes: Sequence[Size]) -> Iterator[_Reading]:
    """What the factor equals: "4 = √16, and 16 is axis 1 of q"."""
    seen: set[str] = set()
    for reading in _known_factors(sizes):
        if math.isclose(abs(ratio), reading.value, rel_tol=1e-6) and reading.text not in seen:
            seen.add(reading.text)
            yield reading


_CONSTANTS = (
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

# How a factor follows from a size n, the smallest n that it is looked for at, and what it means.
_BY_SIZE: tuple[tuple[str, int, Callable[[int], float], str], ...] = (
    ("n/(n-1)", 3, lambda n: n / (n - 1), "{n}/{m}, as 1/(n−1) in place of 1/n gives, where {of}"),
    ("(n-1)/n", 3, lambda n: (n - 1) / n, "{m}/{n}, as 1/n in place of 1/(n−1) gives, where {of}"),
    ("n", 3, float, "{of}, as a sum in place of a mean gives"),
    ("1/n", 3, lambda n: 1 / n, "1/{n}, as a mean in place of a sum gives, where {of}"),
    (
        "√n/(n-1)",
        3,
        lambda n: math.sqrt(n / (n - 1)),
        "√({n}/{m}), as n−1 in place of n gives under a root, where {of}",
    ),
    (
        "√(n-1)/n",
        3,
        lambda n: math.sqrt((n - 1) / n),
        "√({m}/{n}), as n in place of n−1 gives under a root, where {of}",
    ),
    ("√n", 2, math.sqrt, "√{n}, where {of}"),
    ("1/√n", 2, lambda n: 1 / math.sqrt(n), "1/√{n}, where {of}"),
)


def _known_factors(sizes: Sequence[Size]) -> Iterator[_Reading]:
    for value, text in _CONSTANTS:
        yield _Reading(text, text, value)
    for n, label in sizes:
        for name, least, of, words in _BY_SIZE:
            if n >= least:
                text = words.format(n=n, m=n - 1, of=f"{n} is {label}")
                yield _Reading(f"{name} of {label}", text, of(n), n, of, label)
    yield _Reading("√2", "√2", math.sqrt(2))
    yield _Reading("1/√2", "1/√2", 1 / math.sqrt(2))


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
