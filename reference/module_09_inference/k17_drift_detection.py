"""Drift detection: the reference."""

import math
from collections.abc import Callable, Sequence

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray], Score]


def psi(reference: np.ndarray, current: np.ndarray, bins: int = 10) -> float:
    if len(reference) == 0 or len(current) == 0:
        raise ValueError(f"a sample is empty: {len(reference)} values and {len(current)}")
    # Quantiles, so that every bin has its share of the reference; equal ones would leave bins without any value.
    edges = np.unique(np.quantile(reference, np.arange(1, bins) / bins))
    p, q = _shares(reference, edges), _shares(current, edges)
    return float(np.sum((q - p) * np.log(q / p)))


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    bins = len(edges) + 1
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=bins)
    # Half a value more in each bin: none is empty, and the logarithm exists.
    return (counts + 0.5) / (len(values) + bins / 2)


def ks_test(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    n, m = len(x), len(y)
    # The functions jump at the values and nowhere else; after all jumps of one place is where they are compared.
    places = np.concatenate([x, y])
    below_x = np.searchsorted(np.sort(x), places, side="right") / n
    below_y = np.searchsorted(np.sort(y), places, side="right") / m
    d = float(np.max(np.abs(below_x - below_y)))
    root = d * math.sqrt(n * m / (n + m))
    if root < 0.2:
        return d, 1.0  # to twelve digits; the sum itself needs more and more terms there
    p = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k**2 * root**2) for k in range(1, 101))
    return d, min(1.0, max(0.0, p))


def gaussian_kernel(z: np.ndarray, sigma: float | None = None) -> np.ndarray:
    # Differences first: ‖a‖² + ‖b‖² - 2ab would lose all digits far from the origin.
    squares = np.sum((z[:, None, :] - z[None, :, :]) ** 2, axis=-1)
    if sigma is None:
        sigma = float(np.median(np.sqrt(squares[np.triu_indices(len(z), 1)]))) or 1.0
    return np.exp(-squares / (2 * sigma**2))


def mmd_squared(kernel: np.ndarray, n: int) -> float:
    m = len(kernel) - n
    xx, yy, xy = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    within_x = (xx.sum() - np.trace(xx)) / (n * (n - 1))
    within_y = (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within_x + within_y - 2 * xy.mean())


def mmd_test(
    x: np.ndarray, y: np.ndarray, rounds: int, rng: np.random.Generator, sigma: float | None = None
) -> tuple[float, float]:
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"expected 2 rows or more in each sample, got {n} and {m}")
    # Computed once: a shuffle of the rows only shuffles its rows and columns.
    kernel = gaussian_kernel(np.concatenate([x, y]), sigma)
    true = mmd_squared(kernel, n)
    as_large = 1  # the true labels are one of the orders
    for _ in range(rounds):
        order = rng.permutation(n + m)
        as_large += mmd_squared(kernel[np.ix_(order, order)], n) >= true - 1e-12
    return true, as_large / (1 + rounds)


def classifier_test(x: np.ndarray, y: np.ndarray, fit: Fit, rng: np.random.Generator) -> tuple[float, float]:
    if min(len(x), len(y)) < 2:
        raise ValueError(f"expected 2 rows or more in each sample, got {len(x)} and {len(y)}")
    # Shuffled before it is cut: rows often come in the order of time.
    x, y = rng.permutation(x), rng.permutation(y)
    half_x, half_y = len(x) // 2, len(y) // 2
    score = fit(np.concatenate([x[:half_x], y[:half_y]]), np.repeat([0, 1], [half_x, half_y]))
    of_x, of_y = score(x[half_x:]), score(y[half_y:])
    above, equal = of_y[:, None] > of_x, of_y[:, None] == of_x
    auc = float(np.mean(above + 0.5 * equal))
    n, m = len(of_x), len(of_y)
    z = (auc - 0.5) / math.sqrt((n + m + 1) / (12 * n * m))
    return auc, math.erfc(z / math.sqrt(2)) / 2


def holm(p_values: Sequence[float] | np.ndarray, alpha: float = 0.05) -> np.ndarray:
    p = np.asarray(p_values, dtype=float)
    significant = np.zeros(len(p), dtype=bool)
    for done, i in enumerate(np.argsort(p)):
        if p[i] > alpha / (len(p) - done):
            break
        significant[i] = True
    return significant


def benjamini_hochberg(p_values: Sequence[float] | np.ndarray, alpha: float = 0.05) -> np.ndarray:
    p = np.asarray(p_values, dtype=float)
    thresholds = alpha * np.arange(1, len(p) + 1) / len(p) if len(p) else p
    passing = np.flatnonzero(np.sort(p) <= thresholds)
    if len(passing) == 0:
        return np.zeros(len(p), dtype=bool)
    return p <= np.sort(p)[passing[-1]]
