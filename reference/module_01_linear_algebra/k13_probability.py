"""Probability: the reference."""

import math
from collections.abc import Callable

import numpy as np


def bernoulli_pmf(k: np.ndarray, p: float) -> np.ndarray:
    return np.select([k == 1, k == 0], [p, 1 - p])


def _log_factorial(k: np.ndarray) -> np.ndarray:
    """log k! of whole numbers k ≥ 0, from a table of running sums."""
    # One entry for each number up to the largest, and k as an index looks all of them up at once.
    table = np.cumsum(np.log(np.arange(1, k.max() + 1)))
    return np.concatenate([[0.0], table])[k]


def binomial_logpmf(k: np.ndarray, n: int, p: float) -> np.ndarray:
    inside = (k >= 0) & (k <= n)
    # Any valid k will do outside: its value isn't used.  int64, as n - k may be beyond an int8.
    k = np.where(inside, k, 0).astype(np.int64)
    ways = _log_factorial(np.array(n)) - _log_factorial(k) - _log_factorial(n - k)
    return np.where(inside, ways + k * math.log(p) + (n - k) * math.log1p(-p), -np.inf)


def poisson_logpmf(k: np.ndarray, rate: float) -> np.ndarray:
    inside = k >= 0
    k = np.where(inside, k, 0).astype(np.int64)
    return np.where(inside, k * math.log(rate) - rate - _log_factorial(k), -np.inf)


def gaussian_logpdf(x: np.ndarray, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    return -(((x - mean) / sd) ** 2) / 2 - math.log(sd) - math.log(2 * math.pi) / 2


def gaussian_pdf(x: np.ndarray, mean: float = 0.0, sd: float = 1.0) -> np.ndarray:
    return np.exp(gaussian_logpdf(x, mean, sd))


def exponential_from_uniform(u: np.ndarray, rate: float) -> np.ndarray:
    # log1p(-u) is log(1 - u) with all its digits where u is small.
    return -np.log1p(-u) / rate


def discrete_from_uniform(u: np.ndarray, p: np.ndarray) -> np.ndarray:
    # Past the last index of any probability there is nobody whose turn it could be.
    last = np.flatnonzero(p)[-1]
    return np.minimum(np.searchsorted(np.cumsum(p), u, side="right"), last)


def box_muller(u1: np.ndarray, u2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius = np.sqrt(-2 * np.log(u1))
    angle = 2 * np.pi * u2
    return radius * np.cos(angle), radius * np.sin(angle)


def rejection_sample(
    density: Callable[[np.ndarray], np.ndarray],
    low: float,
    high: float,
    bound: float,
    n: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    kept, throws = np.empty(0), 0
    # n throws at a time: one by one would take a hundred times as long.
    while len(kept) < n:
        x = rng.uniform(low, high, n)
        height = density(x)
        if height.max() > bound:
            raise ValueError(f"the density is {height.max()} somewhere, above its bound {bound}")
        kept = np.concatenate([kept, x[rng.uniform(0, bound, n) < height]])
        throws += n
    return kept[:n], len(kept) / throws


def monte_carlo(f: Callable[[np.ndarray], np.ndarray], draws: np.ndarray) -> tuple[float, float]:
    values = f(draws)
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def standardized_means(draws: np.ndarray, mean: float, sd: float) -> np.ndarray:
    return math.sqrt(draws.shape[1]) * (draws.mean(axis=1) - mean) / sd
