"""Number formats: the reference."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Format:
    exponent_bits: int
    mantissa_bits: int
    has_infinity: bool = True

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def epsilon(self) -> float:
        return 2.0**-self.mantissa_bits

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def largest(self) -> float:
        # Infinity and NaN take the last octave whole, or NaN alone its last value.
        if self.has_infinity:
            return (2 - self.epsilon) * 2.0**self.bias
        return (2 - 2 * self.epsilon) * 2.0 ** (self.bias + 1)


FP16 = Format(5, 10)
BF16 = Format(8, 7)
E4M3 = Format(4, 3, has_infinity=False)
E5M2 = Format(5, 2)


def _ends(form: Format) -> tuple[int, int]:
    """The last code that isn't NaN (infinity or the largest value) and the last of all, sign-less."""
    last = 2 ** (form.exponent_bits + form.mantissa_bits) - 1
    return last - (2**form.mantissa_bits - 1 if form.has_infinity else 1), last


def _exponent(values: np.ndarray, form: Format) -> np.ndarray:
    """⌊log₂|value|⌋, exact; subnormals and 0 share the exponent of the smallest normal."""
    return np.frexp(np.maximum(np.abs(values), form.smallest_normal))[1] - 1


def decode(codes: np.ndarray, form: Format) -> np.ndarray:
    top, last = _ends(form)
    codes = codes.astype(np.int32)  # wider than uint8, which shifts and products overflow
    magnitude = codes & last
    exponent, mantissa = np.divmod(magnitude, 2**form.mantissa_bits)
    # The leading 1, in units of the last place; a subnormal has none, and the exponent of field 1.
    mantissa = mantissa + np.where(exponent > 0, 2**form.mantissa_bits, 0)
    values = np.ldexp(mantissa, np.maximum(exponent, 1) - form.bias - form.mantissa_bits)
    if form.has_infinity:
        values = np.where(magnitude == top, np.inf, values)
    values = np.where(magnitude > top, np.nan, values)
    return np.where(codes > last, -values, values).astype(np.float32)


def encode(values: np.ndarray, form: Format) -> np.ndarray:
    top, last = _ends(form)
    # NaN counts as 0 until its code is put in at the end; infinity is any number of steps, capped like all overflow.
    size = np.where(np.isnan(values), 0, np.abs(values))
    exponent = _exponent(size, form)
    steps = np.rint(np.ldexp(size, form.mantissa_bits - exponent))
    # The leading 1 of a normal value is 2**mantissa_bits steps: it adds the last 1 to the exponent field.
    codes = (exponent + form.bias - 1) * 2**form.mantissa_bits + steps
    codes = np.where(np.isnan(values), last, np.minimum(codes, top))
    codes = codes + np.signbit(values) * (last + 1)
    return codes.astype(np.uint8 if last < 2**7 else np.uint16)


def spacing(values: np.ndarray, form: Format) -> np.ndarray:
    return np.ldexp(np.float32(1), _exponent(values, form) - form.mantissa_bits)


def stochastic_round(values: np.ndarray, form: Format, rng: np.random.Generator) -> np.ndarray:
    gap = spacing(values, form)
    steps = values / gap  # exact, as the gap is a power of two
    low = np.floor(steps)
    up = rng.random(values.shape) < steps - low
    return (low + up) * gap


def relative_error(values: np.ndarray, form: Format) -> np.ndarray:
    exact = values.astype(np.float64)
    error = np.abs(decode(encode(values, form), form) - exact)
    return error / np.where(exact == 0, 1, np.abs(exact))
