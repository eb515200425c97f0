"""Number formats: fp16, bf16 and fp8

**Before you start.**  You need powers of two, binary numbers, and numpy's operations on whole
arrays.  No other kata.  Are floats new to you?  Read Goldberg 1991, "What Every Computer Scientist
Should Know About Floating-Point Arithmetic", its first section.

**The idea.**  A number of half as many bits takes half the memory and half the traffic.  But which
bits?  A float is scientific notation in base 2: a sign s, an exponent field E of e bits and a
mantissa field M of m bits.  The exponent buys range, the mantissa precision:

    fp16   s│eeeee│mmmmmmmmmm   largest 65504    half precision on GPUs
    bf16   s│eeeeeeee│mmmmmmm           3.39e38  training: float32's range
    E4M3   s│eeee│mmm                   448      fp8 weights and activations
    E5M2   s│eeeee│mm                   57344    fp8 gradients

**The formula.**

    normal,    E > 0:  (−1)ˢ · 2^(E − bias) · (1 + M / 2ᵐ)        bias = 2^(e − 1) − 1
    subnormal, E = 0:  (−1)ˢ · 2^(1 − bias) · M / 2ᵐ

    epsilon = 2⁻ᵐ, the gap between 1 and the next value

Without its sign, a code counts the values up from 0.  With 2 exponent and 2 mantissa bits:

    code   0   1   2   3   4   5   6   7   8       9       10      11      12
           ├───┼───┼───┼───┼───┼───┼───┼───┼───────┼───────┼───────┼───────┤
    value  0  .25 .5  .75  1 1.25 1.5 1.75 2      2.5      3      3.5     inf
           └── subnormal ──┴─── E is 1 ────┴─ E is 2: twice as far apart ──┘

Between two powers of two there are 2ᵐ values, evenly spaced.  The gap doubles at each power of two.
So the *relative* error of a normal value is at most epsilon/2.  Below the normals the gap stays
the same down to 0.

*Special codes.*  Where E is all ones, fp16, bf16 and E5M2 hold infinity (M = 0) and NaN (M > 0).
E4M3 has no infinity.  Only 0x7F and 0xFF are NaN, so its E = 15 holds numbers too.

*Stochastic rounding* goes up with probability (x − low) / (high − low), so its mean is x.

**Why do ties go to the even code?**  Always rounding halves up would push sums up.  The even code
is up half the time.

**Why does a carry need no care?**  code + 1 is the next value, across powers of two as well.  A
mantissa that rounds up to 2ᵐ adds 1 to the exponent; the largest value plus 1 is infinity.

**Why round at random?**  In bf16, 1 + 2⁻¹⁰ rounds to 1: a thousand such steps leave a weight where
it was.  At random, one step in eight moves it by 2⁻⁷, which is right on average.

**Worked by hand**, 0.1 = 1.6 · 2⁻⁴ in E4M3 (bias 7):

    M / 8 should be 0.6: M = 4.8, rounded 5        E = −4 + 7 = 3
    code = 0 0011 101 = 0x1D, which is 1.625 / 16 = 0.1015625, 1.56 % too large
    at random: 0.1015625 with probability 0.8, 0.09375 (M = 4) with 0.2
    other formats: fp16 0x2E66, bf16 0x3DCD, E5M2 0x2E = 0.09375

**Shapes**: any, and every function keeps it.

- "Values" are float32 arrays, which hold all values of these formats exactly.
- "Codes" are integer arrays, the sign in the highest of a format's bits: uint8 for formats of up to
  8 bits, else uint16.
- Arrays are long, 65,536 entries and more: work on the whole array, not entry by entry.
- No function changes its arguments.  Only `rng` moves on, of course.

**Steps.**

    Format             10 min   without infinity, largest is another formula
    decode             10 min   uint8 overflows: widen it first
    encode             20 min   count in gaps, round, let the carry do itself
    spacing             5 min   the exponent never falls below the smallest normal's
    stochastic_round   10 min   each entry draws on its own
    relative_error      5 min   float64, and no 0/0

Sources: IEEE 754-2019, sections 3.4 and 4.3.1; Micikevicius et al. 2022, "FP8 Formats
for Deep Learning", section 3; Gupta et al. 2015, "Deep Learning with Limited
Numerical Precision", section 3.1 (stochastic rounding).

From scratch: torch, ml_dtypes, struct, numpy.float16 and numpy.half may not be used.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Format:
    """A format of 1 + exponent_bits + mantissa_bits bits, 16 at most.

    - Not only the four formats below must work, but any with mantissa_bits from 2 to 10 and
      exponent_bits from 2 to 8 (to 7 without infinity).
    - Without infinity, the all-ones codes of both signs are the only NaN; all others are numbers.
    """

    exponent_bits: int
    mantissa_bits: int
    has_infinity: bool = True

    @property
    def bias(self) -> int:
        """What the exponent field exceeds the exponent by: 2^(exponent_bits − 1) − 1."""
        raise NotImplementedError

    @property
    def epsilon(self) -> float:
        """The gap between 1 and the next value."""
        raise NotImplementedError

    @property
    def smallest_normal(self) -> float:
        """The smallest positive value that isn't subnormal."""
        raise NotImplementedError

    @property
    def largest(self) -> float:
        """The largest finite value."""
        raise NotImplementedError


FP16 = Format(5, 10)
BF16 = Format(8, 7)
E4M3 = Format(4, 3, has_infinity=False)
E5M2 = Format(5, 2)


def decode(codes: np.ndarray, form: Format) -> np.ndarray:
    """The values, float32, of `codes` in `form`; subnormals, −0, ±inf and NaN included.

    `codes` have the dtype that `encode` gives.  The sign of a NaN isn't tested.
    """
    raise NotImplementedError


def encode(values: np.ndarray, form: Format) -> np.ndarray:
    """The codes of `values` (float32) rounded to the nearest in `form`, ties to the even code.

    - −0, and what rounds to 0 from below, becomes −0.
    - NaN becomes a NaN; which of them isn't tested.
    - With infinity: half a gap beyond ±`largest`, or more, becomes ±inf, and so does ±inf.  (It
      would round to the next value, if there were one.)
    - Without: all beyond ±`largest`, ±inf included, becomes ±`largest` ("saturation", as torch
      casts since version 2.12).

    Returns uint8 where `form` has up to 8 bits, else uint16.
    """
    raise NotImplementedError


def spacing(values: np.ndarray, form: Format) -> np.ndarray:
    """The gap, float32, between the two neighbours in `form` that enclose each |value|.

    - For a |value| that `form` holds, the gap to the next one away from 0: at a power of two the
      wider one, above it.
    - At `largest` it is the gap below.
    - At 0 and in the subnormals it is the smallest subnormal.

    `values` (float32) are finite and within ±`largest`.
    """
    raise NotImplementedError


def stochastic_round(values: np.ndarray, form: Format, rng: np.random.Generator) -> np.ndarray:
    """Round `values` at random to one of their two neighbours in `form`; float32 values, not codes.

    - A neighbour d away, in a gap of g, is taken with probability 1 − d/g, so the mean is the
      value, and a value that `form` holds stays.
    - Every entry is drawn on its own.
    - All chance comes from `rng`, which moves on: the next call draws anew.
    - The sign of a 0 isn't tested.

    `values` (float32) are finite and within ±`largest`.
    """
    raise NotImplementedError


def relative_error(values: np.ndarray, form: Format) -> np.ndarray:
    """|rounded − value| / |value|, float64, of rounding each to the nearest in `form`.

    - 0 for a value of 0; inf where it rounds to infinity.
    - No value but 0 is too small to divide by.

    `values` (float32) are finite.
    """
    raise NotImplementedError
