"""Floating point

**Before you start.**  You need binary numbers, and Python's `>>`, `<<`, `&` and `|`; no other kata.
Rusty?  Read the first half of "Floating-Point Arithmetic: Issues and Limitations" in Python's
tutorial.

**The idea.**  Training in bfloat16, quantising weights, a loss that is suddenly NaN: bits decide
all of it.  A computer has no real numbers, only patterns of bits and agreements on what they mean.
A float32 and a bfloat16 share their upper half:

    bit 31  30      23 22                     0
       ┌───┬──────────┬────────────────────────┐
       │ s │ e, 8 bit │ f, 23 bits             │   float32
       ├───┼──────────┼────────┬───────────────┤
       │ s │ e, 8 bit │ 7 bits │   cut off     │   bfloat16
       └───┴──────────┴────────┴───────────────┘

**The formulas**, for a sign s, an exponent e and a fraction f, both whole numbers, and w bits:

    e = 0           (-1)ˢ · f · 2⁻¹⁴⁹               0 and the subnormal numbers
    0 < e < 255     (-1)ˢ · (2²³ + f) · 2ᵉ⁻¹⁵⁰       the leading 1 isn't stored
    e = 255         ±∞ if f = 0, else NaN

    two's complement   the pattern of n is n mod 2ʷ    patterns from 2ʷ⁻¹ on are negative
    Kahan              y = x - lost      t = total + y      lost = (t - total) - y      total = t
    log-sum-exp        log ∑ eˣⁱ = m + log ∑ eˣⁱ⁻ᵐ          m = maxᵢ xᵢ

- *Rounding.*  Every other number goes to the nearest of these.  One halfway goes to the even one,
  whose last bit is 0.  Positive floats and their patterns are in the same order.  So rounding up
  adds 1 to the pattern, even if that carries into the exponent, or from the largest number into ∞.
- *Integers* of a fixed width count modulo 2ʷ.  In 8 bits, 127 + 1 = -128.
- *The ulp*, the unit in the last place, is the gap between neighbours.  It grows with the number.
- *Sums* lose what is smaller than half an ulp of them: add 1e-16 to 1 a million times, and 1 is
  left.  Kahan keeps what was lost, and gives it back.
- *Scaling* brings columns to one scale.  A few outliers don't move a median and quartiles.

**Why to the even one?**  If halfway always went up, a mean of many rounded numbers would drift up.

**Why does Kahan's `lost` come out right?**  Where |total| ≥ |y|, both differences are exact.  So
`lost` is just what rounding has added to t.

**Why take the largest out of log ∑ eˣⁱ?**  exp overflows past 709.  Once you
subtract m, no exponent is above 0.

**Worked by hand**:

    -0.15625 = -5/32 = -1.25 · 2⁻³: s = 1, e = 124, f = 0.25 · 2²³ = 2097152
        pattern 1 01111100 01000000000000000000000 = 0xBE200000
    ulp of 1 = 2⁻⁵² = 2.22e-16        ulp of 1000 = 2⁹⁻⁵² = 1.14e-13
    0x3F808000 = 1 + 2⁻⁸, halfway from 1 to 1 + 2⁻⁷ in bfloat16: to even, 0x3F80 = 1
    -3 in 4 bits: 16 - 3 = 13 = 0b1101
    log(e¹⁰⁰⁰ + e¹⁰⁰⁰) = 1000 + log 2 = 1000.6931
    [1 2 3 4 100]: median 3, quartiles 2 and 4, so robustly [-1 -0.5 0 0.5 48.5]

**Shapes**: each function says its own.  No function changes its arguments.

**Steps.**  Good places to pause are after ulp and after kahan_sum.

    decode_float32        10 min   three cases
    encode_float32        20 min   the hard one: count in units of the last bit
    ulp                    5 min   it stops shrinking near 0
    round_to_bfloat16     10 min   ties, and NaN
    to_twos_complement     5 min   what fits?
    from_twos_complement   3 min   the way back
    add_wrapping           3 min   from both
    kahan_sum              5 min   in this order
    logsumexp             10 min   infinities
    min_max_scale          5 min   a constant column
    z_score                5 min   a constant column whose mean is rounded
    robust_scale           5 min   equal quartiles

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

    - 0x80000000 is -0.0.
    - Every pattern with e = 255 and f > 0 is NaN.
    """
    raise NotImplementedError


def encode_float32(x: float) -> int:
    """The pattern of the float32 nearest to `x`; of two that are as near, the even one.

    - From halfway past the largest float32 on (2¹²⁸ - 2¹⁰³), `x` becomes ±∞.
    - The sign of zero is kept.
    - NaN, of either sign, is 0x7FC00000.
    """
    raise NotImplementedError


def ulp(x: float) -> float:
    """The gap from |x| to the next larger float64, for a finite x; 2⁻¹⁰⁷⁴ at 0."""
    raise NotImplementedError


def round_to_bfloat16(bits: np.ndarray) -> np.ndarray:
    """From patterns of float32, uint32 of any shape, to the nearest bfloat16s', uint16.

    - Halfway goes to the even pattern.
    - From halfway past the largest bfloat16 on it is ±∞.
    - Every NaN becomes 0x7FC0, whatever its sign.
    """
    raise NotImplementedError


def to_twos_complement(n: int, width: int) -> int:
    """The pattern of `n` in `width` bits: an int from 0 to 2ʷ - 1.

    Raises OverflowError, naming n and the smallest and the largest number that fit, if n isn't
    one of them.
    """
    raise NotImplementedError


def from_twos_complement(pattern: int, width: int) -> int:
    """The number that `pattern`, 0 ≤ pattern < 2ʷ, stands for in `width` bits."""
    raise NotImplementedError


def add_wrapping(a: int, b: int, width: int) -> int:
    """a + b as a machine with `width` bits has it.

    That is the number in range that differs from a + b by a multiple of 2ʷ, for any a and b.
    """
    raise NotImplementedError


def kahan_sum(values: Iterable[float]) -> float:
    """The sum of `values`, in the order given, with compensation; 0.0 for none.

    Right to 2 ulps of the result where all values have the same sign.  All are finite.
    """
    raise NotImplementedError


def logsumexp(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """log ∑ exp(x) over one axis of `x` (…), float64, without that axis: a scalar for a vector.

    - Finite for finite x of any size.
    - -∞ counts for nothing; a slice of only -∞ gives -∞.
    - A slice with ∞ gives ∞.
    """
    raise NotImplementedError


def min_max_scale(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) shifted and stretched to run from 0 to 1: float64.

    Here and below, numbers are of a usual size: squares and ranges neither overflow nor vanish.

    - 0 where a column is constant.
    - `x` may hold integers of any width: 127 - (-128) must not overflow.
    """
    raise NotImplementedError


def z_score(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) less its mean, over its standard deviation (with 1/n): float64.

    - 0 where a column is constant, that is where all entries are equal.  The deviation computed
      from eleven times 0.3 is some 5e-17, but the answer is still 0.
    - A mean of 1e8 costs no digits of the deviation.
    - `x` may hold integers of any width.
    """
    raise NotImplementedError


def robust_scale(x: np.ndarray) -> np.ndarray:
    """Each column of `x` (n, d) less its median, over its interquartile range: float64.

    - Quantiles are interpolated linearly between the sorted values, as numpy's default does.
    - Where the quartiles are equal, the median is taken away and no more.
    - `x` may hold integers of any width.
    """
    raise NotImplementedError
