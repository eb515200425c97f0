"""Floating point: the reference."""

import math
from collections.abc import Iterable

import numpy as np

INFINITY = 255 << 23


def decode_float32(bits: int) -> float:
    sign = -1.0 if bits >> 31 else 1.0
    exponent = bits >> 23 & 0xFF
    fraction = bits & 0x7FFFFF
    if exponent == 255:
        return math.nan if fraction else sign * math.inf
    if exponent == 0:
        return sign * math.ldexp(fraction, -149)
    return sign * math.ldexp(2**23 + fraction, exponent - 150)


def encode_float32(x: float) -> int:
    if math.isnan(x):
        return 0x7FC00000
    sign = 1 << 31 if math.copysign(1, x) == -1 else 0
    if x == 0:
        return sign
    if math.isinf(x):
        return sign | INFINITY
    # |x| < 2**power, so a float32 keeps 24 bits below that: its last bit is worth 2**last.
    power = math.frexp(x)[1]
    last = max(power - 24, -149)
    units = round(math.ldexp(abs(x), -last))  # exact but for this, and round goes to even
    # The leading 1 of a normal number's units adds 1 to the exponent, which is the 1 that `last` lacks.
    return sign | min(((last + 149) << 23) + units, INFINITY)


def ulp(x: float) -> float:
    # frexp says which power of two is above |x|; 53 bits fit below it, but none below 2⁻¹⁰⁷⁴.
    return math.ldexp(1.0, max(math.frexp(x)[1] - 53, -1074)) if x else math.ldexp(1.0, -1074)


def round_to_bfloat16(bits: np.ndarray) -> np.ndarray:
    is_nan = (bits & 0x7FFFFFFF) > INFINITY
    # A little less than half is added, and the rest of the half where the kept part is odd.
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(is_nan, 0x7FC0, rounded).astype(np.uint16)


def to_twos_complement(n: int, width: int) -> int:
    half = 1 << (width - 1)
    if not -half <= n < half:
        raise OverflowError(f"{n} doesn't fit in {width} bits: expected {-half} to {half - 1}")
    return n % (1 << width)


def from_twos_complement(pattern: int, width: int) -> int:
    return pattern - (1 << width) if pattern >> (width - 1) else pattern


def add_wrapping(a: int, b: int, width: int) -> int:
    return from_twos_complement((a + b) % (1 << width), width)


def kahan_sum(values: Iterable[float]) -> float:
    total, lost = 0.0, 0.0
    for value in values:
        y = value - lost
        larger = total + y
        lost = (larger - total) - y  # 0 in exact arithmetic; here what the sum has rounded away
        total = larger
    return total


def logsumexp(x: np.ndarray, axis: int = -1) -> np.ndarray:
    peak = x.max(axis=axis, keepdims=True)
    # ∞ - ∞ is NaN; a slice with an infinite maximum needs nothing taken out.
    peak = np.where(np.isfinite(peak), peak, 0)
    with np.errstate(all="ignore"):
        return np.log(np.exp(x - peak).sum(axis=axis)) + peak.squeeze(axis=axis)


def min_max_scale(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)  # in int8 the range -128 … 127 has no length
    low, high = x.min(axis=0), x.max(axis=0)
    return (x - low) / np.where(high > low, high - low, np.inf)


def z_score(x: np.ndarray) -> np.ndarray:
    # Eleven times 0.3 have a mean that isn't quite 0.3, so a deviation of 0 would be the wrong question.
    varies = x.max(axis=0) > x.min(axis=0)
    return (x - x.mean(axis=0)) / np.where(varies, x.std(axis=0), np.inf)


def robust_scale(x: np.ndarray) -> np.ndarray:
    low, median, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    return (x - median) / np.where(high > low, high - low, 1)
