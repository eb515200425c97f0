"""Floating point

A computer has no real numbers.  It has patterns of bits, and agreements on what
they mean.

Integers of a fixed width count modulo 2ʷ.  In two's complement the patterns
from 2ʷ⁻¹ on stand for the negative numbers: the pattern of n is n mod 2ʷ.  A
sum that leaves the range wraps around: in 8 bits, 127 + 1 = -128.

A float32 is a sign, 8 bits of exponent e and 23 bits of fraction f:

    e = 0           (-1)ˢ · f · 2⁻¹⁴⁹               0 and the subnormal numbers
    0 < e < 255     (-1)ˢ · (2²³ + f) · 2ᵉ⁻¹⁵⁰       the leading 1 isn't stored
    e = 255         ±∞ if f = 0, else NaN

Every other real number is rounded to the nearest of these; one that lies
halfway between two goes to the even one, whose last bit is 0, so that rounding
pushes neither up nor down on average.  As the patterns of positive floats are
in the order of the numbers, rounding up is adding 1 to the pattern, even where
that carries into the exponent, and past the largest number into ∞.  bfloat16 is
the upper half of a float32: the same range, with 7 bits of fraction.

The gap between neighbours, the ulp (unit in the last place), grows with the
number.  A sum loses what is smaller than half an ulp of it: adding 1e-16 to 1
a million times leaves 1.  Kahan keeps what was lost, and gives it back:

    y = x - lost      t = total + y      lost = (t - total) - y      total = t

Only differences of floats are taken here, and they come out exactly.

log ∑ eˣⁱ overflows where an xᵢ passes 709.  With the largest taken out it can't:

    log ∑ eˣⁱ = m + log ∑ eˣⁱ⁻ᵐ,   m = maxᵢ xᵢ

And before numbers meet in one model, their columns are brought to one scale:
by the range, by mean and standard deviation, or by median and quartiles, which
a few outliers don't move.

Worked by hand:

    -0.15625 = -5/32 = -1.25 · 2⁻³: s = 1, e = 124, f = 0.25 · 2²³ = 2097152
        pattern 1 01111100 01000000000000000000000 = 0xBE200000
    ulp of 1 = 2⁻⁵² = 2.22e-16        ulp of 1000 = 2⁹⁻⁵² = 1.14e-13
    0x3F808000 = 1 + 2⁻⁸, halfway from 1 to 1 + 2⁻⁷ in bfloat16: to even, 0x3F80 = 1
    -3 in 4 bits: 16 - 3 = 13 = 0b1101
    log(e¹⁰⁰⁰ + e¹⁰⁰⁰) = 1000 + log 2 = 1000.6931
    [1 2 3 4 100]: median 3, quartiles 2 and 4, so robustly [-1 -0.5 0 0.5 48.5]

No function changes its arguments.

Sources: IEEE 754-2019; Goldberg 1991, "What Every Computer Scientist Should Know
About Floating-Point Arithmetic"; Kahan 1965, "Further Remarks on Reducing
Truncation Errors".

From scratch: struct, numpy.float32, numpy.spacing, numpy.nextafter, math.ulp,
math.nextafter, math.fsum, builtins.sum, numpy.sum, numpy.logaddexp, scipy and
sklearn may not be used (the method `.sum()` of an array may).
"""

from collections.abc import Iterable

import numpy as np


def decode_float32(bits: int) -> float:
    """The number that the 32-bit pattern `bits`, 0 ≤ bits < 2³², stands for.

    0x80000000 is -0.0.  Every pattern with e = 255 and f > 0 is NaN.
    """
    raise NotImplementedError


def encode_float32(x: float) -> int:
    """The pattern of the float32 nearest to `x`; of two that are as near, the even one.

    From halfway past the largest float32 on (2¹²⁸ - 2¹⁰³), `x` becomes ±∞.
    The sign of zero is kept.  NaN is 0x7FC00000.
    """
    raise NotImplementedError


def ulp(x: float) -> float:
    """The gap from |x| to the next larger float64, for a finite x; 2⁻¹⁰⁷⁴ at 0."""
    raise NotImplementedError


def round_to_bfloat16(bits: np.ndarray) -> np.ndarray:
    """From patterns of float32, uint32 of any shape, to the nearest bfloat16s', uint16.

    Halfway goes to the even pattern.  Past the largest bfloat16 is ±∞.  Every
    NaN becomes 0x7FC0, whatever its sign.
    """
    raise NotImplementedError


def to_twos_complement(n: int, width: int) -> int:
    """The pattern of `n` in `width` bits: an int from 0 to 2ʷ - 1.

    OverflowError, naming n and the smallest and largest number that fit, if n isn't between them.
    """
    raise NotImplementedError


def from_twos_complement(pattern: int, width: int) -> int:
    """The number that `pattern`, 0 ≤ pattern < 2ʷ, stands for in `width` bits."""
    raise NotImplementedError


def add_wrapping(a: int, b: int, width: int) -> int:
    """a + b as a machine with `width` bits has it: the number in range that differs by a multiple of 2ʷ."""
    raise NotImplementedError


def kahan_sum(values: Iterable[float]) -> float:
    """The sum of `values`, in the order given, with compensation; 0.0 of none.

    Right to 2 ulps of the result where all values have the same sign.
    """
    raise NotImplementedError


def logsumexp(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """log ∑ exp(x) over one axis of `x` (…), which the result lacks; a scalar for a vector.

    Finite for finite x of any size.  -∞ counts for nothing: a slice of only -∞
    gives -∞.  A slice with ∞ gives ∞.
    """
    raise NotImplementedError


def min_max_scale(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) shifted and stretched to run from 0 to 1; 0 where it is constant."""
    raise NotImplementedError


def z_score(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) less its mean, over its standard deviation (with 1/n); 0 where it is constant.

    A column that is constant has entries that are all equal: the deviation that
    is computed from eleven times 0.3 is some 5e-17, but the answer is still 0.
    """
    raise NotImplementedError


def robust_scale(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) less its median, over the distance of its quartiles.

    Quantiles are interpolated linearly between the sorted values, as numpy's
    default does.  Where the quartiles are equal, the median is taken away and no more.
    """
    raise NotImplementedError
