"""Number formats: fp16, bf16 and fp8

A float is scientific notation in base 2, packed into a few bits: a sign s, an
exponent field E and a mantissa field M of m bits,

    normal,    E > 0:  (-1)ˢ · 2^(E - bias) · (1 + M / 2ᵐ)
    subnormal, E = 0:  (-1)ˢ · 2^(1 - bias) · M / 2ᵐ        bias = 2^(e - 1) - 1

    format   s  e  m   epsilon   largest      used for
    fp16     1  5  10  2⁻¹⁰      65504        activations
    bf16     1  8  7   2⁻⁷       3.39 · 10³⁸  training: float32's range
    E4M3     1  4  3   2⁻³       448          fp8 weights and activations
    E5M2     1  5  2   2⁻²       57344        fp8 gradients

The exponent buys range, the mantissa precision.  Between two powers of two the
values stand evenly, 2ᵐ to the octave, one spacing ("ulp") apart; the spacing
doubles at every power of two, so it is the *relative* error that is bounded.
Rounding to the nearest errs by half a spacing at most, which is at most
epsilon / 2 of a normal value, with epsilon = 2⁻ᵐ.  Subnormals keep the last
octave's spacing down to 0: they have no such bound.

Special codes.  Where E is all ones, fp16, bf16 and E5M2 hold infinity (M = 0)
and NaN (M > 0).  E4M3 can't spare eight values: it has no infinity, and the
all-ones codes alone, 0x7F and 0xFF, are NaN.  So its E = 15 holds numbers too.

Ties.  A value halfway between two neighbours goes to the one whose code is even.
Always rounding ties up would push sums up; the even code is up half the time.

A sign-less code is an integer that counts the values up from 0: code + 1 is the
next value, across octaves too.  So a mantissa that rounds up to 2ᵐ carries into
the exponent by itself, and from the largest value it carries into infinity.

Stochastic rounding goes up with probability (x - low) / (high - low), so that its
mean is x.  In bf16, 1 + 2⁻¹⁰ rounds to the nearest as 1: a thousand such steps
leave a weight where it was.  Rounded stochastically, one in eight moves it by 2⁻⁷,
and on average they all arrive.

Worked by hand, 0.1 = 1.6 · 2⁻⁴ in E4M3 (bias 7):

    M / 8 should be 0.6: M = 4.8, rounded 5        E = -4 + 7 = 3
    code = 0 0011 101 = 0x1D, which is 1.625 / 16 = 0.1015625, 1.56 % too large

and in fp16 0x2E66, in bf16 0x3DCD, in E5M2 0x2E = 0.09375.  Stochastically, E4M3
gives 0.1015625 with probability 0.8 and 0.09375 (M = 4) with probability 0.2.

Shapes: any, and every function keeps it.  "Values" are float32 arrays, which hold
all values of the formats here exactly.  "Codes" are integer arrays, the sign in the
highest of a format's bits: uint8 for formats of up to 8 bits, else uint16.  Arrays
are long, 65,536 entries and more: work on the whole array, not entry by entry.

No function changes its arguments.  Only `rng`, of course, moves on: the next call draws anew.

Source: IEEE 754-2019, sections 3.4 and 4.3.1; Micikevicius et al. 2022, "FP8 Formats
for Deep Learning", section 3; Gupta et al. 2015, "Deep Learning with Limited
Numerical Precision", section 3.1 (stochastic rounding).

From scratch: torch, ml_dtypes, struct, numpy.float16 and numpy.half may not be used.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Format:
    """A format of 1 + exponent_bits + mantissa_bits bits, 16 at most.

    Not only the four formats below must work, but any with mantissa_bits from 2
    to 10 and exponent_bits from 2 to 8 (to 7 without infinity).  Without infinity, the all-ones codes (both
    signs) are the only NaN, and all others are numbers.
    """

    exponent_bits: int
    mantissa_bits: int
    has_infinity: bool = True

    @property
    def bias(self) -> int:
        """What the exponent field exceeds the exponent by: 2^(exponent_bits - 1) - 1."""
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
    """The values, float32, of `codes` in `form`; subnormals, -0, ±inf and NaN included.

    `codes` have the dtype that `encode` gives.  The sign of a NaN isn't judged.
    """
    raise NotImplementedError


def encode(values: np.ndarray, form: Format) -> np.ndarray:
    """The codes of `values` (float32) rounded to the nearest in `form`, ties to the even code.

    -0 and what rounds to 0 from below become -0.  NaN becomes a NaN; which of
    them isn't judged.

    With infinity: a value that would round to the next value after `largest`, if
    there were one (half a spacing beyond `largest`, or more), becomes ±inf, and
    so does ±inf.
    Without: all that lies beyond ±`largest`, ±inf included, becomes ±`largest`, as
    in torch since version 2.12 ("saturation"; before, it became NaN).

    Returns uint8 where `form` has up to 8 bits, else uint16.
    """
    raise NotImplementedError


def spacing(values: np.ndarray, form: Format) -> np.ndarray:
    """The gap, float32, between the two neighbours in `form` that enclose each |value|.

    For a |value| that `form` holds, the gap to the next one away from 0: at a power
    of two the wider one, above it.  At `largest` it is the gap below.  At 0 and in
    the subnormals it is the smallest subnormal.  `values` (float32) are finite and
    within ±`largest`.
    """
    raise NotImplementedError


def stochastic_round(values: np.ndarray, form: Format, rng: np.random.Generator) -> np.ndarray:
    """Round `values` at random to one of their two neighbours in `form`; float32 values, not codes.

    The neighbour at distance d of the gap g is taken with probability 1 - d / g, so
    the mean is the value, and a value that `form` holds stays.  Every entry is drawn
    on its own, and all chance comes from `rng`.  The sign of a 0 isn't judged.
    `values` (float32) are finite and within ±`largest`.
    """
    raise NotImplementedError


def relative_error(values: np.ndarray, form: Format) -> np.ndarray:
    """|rounded - value| / |value|, float64, of rounding each to the nearest in `form`.

    0 for a value of 0; inf where it rounds to infinity.  `values` (float32) are finite.
    """
    raise NotImplementedError
