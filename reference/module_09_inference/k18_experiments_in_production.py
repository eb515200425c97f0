"""Experiments in production: the reference."""

import hashlib
import math
from statistics import NormalDist

import numpy as np

BUCKETS = 10_000
NORMAL = NormalDist()


def bucket(unit: str, salt: str, buckets: int = 10_000) -> int:
    digest = hashlib.sha256(f"{salt}:{unit}".encode()).digest()
    return int.from_bytes(digest, "big") % buckets


def assign(unit: str, salt: str, variants: dict[str, int]) -> str | None:
    for name, size in variants.items():
        if size < 0:
            raise ValueError(f"{name} has {size} buckets")
    if sum(variants.values()) > BUCKETS:
        raise ValueError(f"the variants have {sum(variants.values())} of {BUCKETS} buckets")
    place = bucket(unit, salt, BUCKETS)
    *front, last = variants
    # From the upper end: so two variants can grow towards each other, and nobody is moved from one to the other.
    if place >= BUCKETS - variants[last]:
        return last
    end = 0
    for name in front:
        end += variants[name]
        if place < end:
            return name
    return None


def ratio_p_value(a: int, b: int, share: float = 0.5) -> float:
    expected_a, expected_b = share * (a + b), (1 - share) * (a + b)
    chi_squared = (a - expected_a) ** 2 / expected_a + (b - expected_b) ** 2 / expected_b
    return math.erfc(math.sqrt(chi_squared / 2))


def _deviation(p: float, n: int, q: float, m: int) -> float:
    return math.sqrt(p * (1 - p) / n + q * (1 - q) / m)


def z_test(x: int, n: int, y: int, m: int, alpha: float = 0.05) -> tuple[float, float, tuple[float, float]]:
    p, q, pooled = x / n, y / m, (x + y) / (n + m)
    difference = q - p
    # If the rates are equal, all data tell of the one rate; the interval doesn't suppose that.
    under_null = _deviation(pooled, n, pooled, m)
    p_value = math.erfc(abs(difference) / under_null / math.sqrt(2)) if under_null else 1.0
    width = NORMAL.inv_cdf(1 - alpha / 2) * _deviation(p, n, q, m)
    return difference, p_value, (difference - width, difference + width)


def power(rate: float, other: float, n: int, alpha: float = 0.05) -> float:
    pooled = (rate + other) / 2
    least = NORMAL.inv_cdf(1 - alpha / 2) * _deviation(pooled, n, pooled, n)
    return NORMAL.cdf((abs(other - rate) - least) / _deviation(rate, n, other, n))


def sample_size(rate: float, other: float, alpha: float = 0.05, wanted: float = 0.8) -> int:
    if rate == other:
        raise ValueError(f"both rates are {rate}: no test can tell them apart")
    pooled = (rate + other) / 2
    # Both deviations are those of n = 1, divided by √n: the equation for the power is linear in √n.
    root = NORMAL.inv_cdf(1 - alpha / 2) * _deviation(pooled, 1, pooled, 1)
    root += NORMAL.inv_cdf(wanted) * _deviation(rate, 1, other, 1)
    return math.ceil((root / (other - rate)) ** 2)


class SequentialTest:
    def __init__(self, variance: float, tau: float) -> None:
        if variance <= 0 or tau <= 0:
            raise ValueError(f"variance and tau must be above 0, got {variance} and {tau}")
        self.variance, self.tau = variance, tau
        self.n, self.total, self.p = 0, 0.0, 1.0

    def update(self, difference: float) -> float:
        self.n += 1
        self.total += difference
        v, n_tau = self.variance, self.n * self.tau**2
        # n² d² is the square of the sum.  In logarithms, as Λ itself may be larger than any float.
        log_ratio = math.log(v / (v + n_tau)) / 2 + (self.tau * self.total) ** 2 / (2 * v * (v + n_tau))
        # The smallest so far: a p-value that once was small is evidence that stays.
        self.p = min(self.p, math.exp(min(0.0, -log_ratio)))
        return self.p

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        if not self.n:
            return -math.inf, math.inf
        v, n_tau = self.variance, self.n * self.tau**2
        square = v * (v + n_tau) / (self.n * n_tau) * (2 * math.log(1 / alpha) + math.log((v + n_tau) / v))
        mean, width = self.total / self.n, math.sqrt(square)
        return mean - width, mean + width


class Thompson:
    def __init__(self, arms: int, rng: np.random.Generator, a: float = 1.0, b: float = 1.0) -> None:
        if arms < 2:
            raise ValueError(f"expected 2 arms or more, got {arms}")
        self.rng = rng
        self.a, self.b = np.full(arms, float(a)), np.full(arms, float(b))

    def choose(self) -> int:
        return int(np.argmax(self.rng.beta(self.a, self.b)))

    def update(self, arm: int, success: bool) -> None:
        self._check(arm)
        if success:
            self.a[arm] += 1
        else:
            self.b[arm] += 1

    def posterior(self, arm: int) -> tuple[float, float]:
        self._check(arm)
        return float(self.a[arm]), float(self.b[arm])

    def _check(self, arm: int) -> None:
        if not 0 <= arm < len(self.a):
            raise IndexError(f"there is no arm {arm}: they are 0 to {len(self.a) - 1}")
