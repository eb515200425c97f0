"""Comparing models: the reference."""

import itertools
import math

import numpy as np
from scipy.stats import binom, norm, t


def mcnemar(a: np.ndarray, b: np.ndarray) -> tuple[int, int, float]:
    a, b = _same_length(a, b)
    x, y = int((a > b).sum()), int((b > a).sum())
    # Twice one tail; with x = y both tails hold the middle, and twice is more than 1.
    return x, y, min(1.0, 2 * float(binom.cdf(min(x, y), x + y, 0.5)))


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, resamples: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float, float]:
    a, b = _same_length(a, b)
    # One difference per example: what is drawn then is the same example of both.
    differences = a - b
    drawn = differences[rng.integers(len(a), size=(resamples, len(a)))].mean(1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(differences.mean()), float(low), float(high)


def seed_interval(scores: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    n = len(scores)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 seeds, got {n}")
    mean = float(np.mean(scores))
    half = float(t.ppf((1 + level) / 2, n - 1) * np.std(scores, ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


def seed_difference(x: np.ndarray, y: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"an interval needs at least 2 seeds of each system, got {n} and {m}")
    difference = float(np.mean(x) - np.mean(y))
    u, v = np.var(x, ddof=1) / n, np.var(y, ddof=1) / m
    if u + v == 0:
        return difference, difference, difference
    freedom = (u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))
    half = float(t.ppf((1 + level) / 2, freedom) * np.sqrt(u + v))
    return difference, difference - half, difference + half


def holm(p_values: np.ndarray) -> np.ndarray:
    p_values = np.asarray(p_values, dtype=float)
    m = len(p_values)
    order = np.argsort(p_values)
    # A larger p may not end below a smaller one: hence the running maximum.
    stepped = np.maximum.accumulate((m - np.arange(m)) * p_values[order])
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def different(right: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    k = len(right)
    pairs = list(itertools.combinations(range(k), 2))
    adjusted = holm(np.array([mcnemar(right[i], right[j])[2] for i, j in pairs]))
    found = np.zeros((k, k), dtype=bool)
    for (i, j), p in zip(pairs, adjusted, strict=True):
        found[i, j] = found[j, i] = p <= alpha + 1e-9
    return found


def mcnemar_power(only_a: float, only_b: float, n: int, alpha: float = 0.05) -> float:
    differ = only_a + only_b
    total = 0.0
    for m in range(n + 1):
        x = np.arange(m + 1)
        significant = 2 * binom.cdf(np.minimum(x, m - x), m, 0.5) <= alpha + 1e-9
        chance = binom.pmf(x, m, only_a / differ)[significant].sum()
        total += float(binom.pmf(m, n, differ) * chance)
    return total


def examples_needed(only_a: float, only_b: float, power: float = 0.8, alpha: float = 0.05) -> int:
    if only_a == only_b:
        raise ValueError(f"both chances are {only_a}: no test set shows a difference that isn't there")
    differ, delta = only_a + only_b, only_a - only_b
    root = norm.ppf(1 - alpha / 2) * math.sqrt(differ) + norm.ppf(power) * math.sqrt(differ - delta**2)
    return math.ceil((root / delta) ** 2)


def expected_best(accuracy: float, n: int, models: int) -> float:
    # The mean of a count is the sum of P(count > i); the maximum exceeds i unless all models stay at or below it.
    return float((1 - binom.cdf(np.arange(n), n, accuracy) ** models).sum() / n)


def first_places(scores: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    k, n = np.shape(scores)
    places = np.zeros(k)
    for _ in range(resamples):
        means = np.asarray(scores, dtype=float)[:, rng.integers(n, size=n)].mean(1)
        first = means >= means.max() - 1e-9
        places += first / first.sum()
    return places / resamples


def _same_length(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(a) != len(b):
        raise ValueError(f"both models must answer the same examples, got {len(a)} and {len(b)}")
    # Floats: numpy won't subtract booleans, and unsigned integers wrap around.
    return np.asarray(a, dtype=float), np.asarray(b, dtype=float)
