"""Statistics: the reference."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


class Welford:
    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def update(self, x: float) -> None:
        self.count += 1
        delta = x - self.mean
        self.mean += delta / self.count
        # One factor is the distance from the old mean, the other from the new one: their product is just what
        # the sum of squares about the mean grows by.
        self.squares += delta * (x - self.mean)

    def variance(self, ddof: int = 1) -> float:
        if self.count <= ddof:
            raise ValueError(f"a variance with ddof = {ddof} needs more numbers than {self.count}")
        return self.squares / (self.count - ddof)

    def merge(self, other: Welford) -> Welford:
        both = Welford()
        both.count = self.count + other.count
        if both.count > 0:  # two empty ones: 0/0
            delta = other.mean - self.mean
            both.mean = self.mean + delta * other.count / both.count
            both.squares = self.squares + other.squares + delta**2 * self.count * other.count / both.count
        return both


def covariance(x: np.ndarray, ddof: int = 1) -> np.ndarray:
    centred = x - x.mean(axis=0)
    return centred.T @ centred / (len(x) - ddof)


def fit_gaussian(x: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    mean = x.mean()
    variance = ((x - mean) ** 2).mean()
    return (mean, variance), (math.sqrt(variance / len(x)), variance * math.sqrt(2 / len(x)))


def fit_bernoulli(x: np.ndarray) -> tuple[float, float]:
    p = x.mean()
    return p, math.sqrt(p * (1 - p) / len(x))


def fit_poisson(x: np.ndarray) -> tuple[float, float]:
    rate = x.mean()
    return rate, math.sqrt(rate / len(x))


def t_p_value(t: float, df: float) -> float:
    # Gauss and Legendre's rule, moved from [-1, 1] to [0, end].  cosᵛ⁻¹ is smooth there, so 100 points do;
    # Simpson's rule needs about a thousand.
    nodes, weights = np.polynomial.legendre.leggauss(100)
    end = math.atan(abs(t) / math.sqrt(df))
    integral = end / 2 * weights @ np.cos(end / 2 * (nodes + 1)) ** (df - 1)
    # Γ itself overflows from 171 on; its logarithm doesn't.
    c = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    return 1 - 2 * c * integral


def t_test(x: np.ndarray, mean: float = 0.0) -> tuple[float, float]:
    t = (x.mean() - mean) / math.sqrt(_squared_error(x))
    return t, t_p_value(t, len(x) - 1)


def welch_test(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    a, b = _squared_error(x), _squared_error(y)
    t = (x.mean() - y.mean()) / math.sqrt(a + b)
    df = (a + b) ** 2 / (a**2 / (len(x) - 1) + b**2 / (len(y) - 1))
    return t, df, t_p_value(t, df)


def _squared_error(x: np.ndarray) -> float:
    """The squared standard error of the mean, s²/n."""
    return ((x - x.mean()) ** 2).sum() / (len(x) - 1) / len(x)


def permutation_test(x: np.ndarray, y: np.ndarray, shuffles: int, rng: np.random.Generator) -> float:
    values = np.concatenate([x, y])
    observed = abs(x.mean() - y.mean())
    # Under the hypothesis the labels x and y mean nothing: any division of the values was as likely.
    as_large = 0
    for _ in range(shuffles):
        shuffled = rng.permutation(values)
        difference = abs(shuffled[: len(x)].mean() - shuffled[len(x) :].mean())
        as_large += difference >= observed - 1e-9
    return (1 + as_large) / (1 + shuffles)


def bootstrap_interval(
    x: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> tuple[float, float]:
    values = [statistic(rng.choice(x, size=len(x))) for _ in range(resamples)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return low, high
