"""Scaling laws: the reference."""

import math

import numpy as np
from scipy.optimize import minimize
from scipy.stats import t


def fit_power_law(x: np.ndarray, y: np.ndarray, level: float = 0.95) -> tuple[float, float, float, float]:
    line = _Line(x, y)
    half = line.quantile(level) * line.s / math.sqrt(line.spread)
    return math.exp(line.height - line.slope * line.middle), line.slope, line.slope - half, line.slope + half


def extrapolate(x: np.ndarray, y: np.ndarray, new: float, level: float = 0.95) -> tuple[float, float, float]:
    line = _Line(x, y)
    away = math.log(new) - line.middle
    # 1 is the new measurement's own noise, 1/n that of the height, the rest that of the slope.
    half = line.quantile(level) * line.s * math.sqrt(1 + 1 / line.n + away**2 / line.spread)
    log = line.height + line.slope * away
    return math.exp(log), math.exp(log - half), math.exp(log + half)


def fit_with_floor(x: np.ndarray, y: np.ndarray, exponents: np.ndarray) -> tuple[float, float, float]:
    best = None
    for b in exponents:
        # With b fixed, E and a are a linear problem: no start, no local minimum.
        columns = np.stack([np.ones(len(x)), np.asarray(x, dtype=float) ** -b], axis=1)
        (floor, a), *_ = np.linalg.lstsq(columns, y)
        error = np.square(columns @ (floor, a) - y).sum()
        if best is None or error < best[0]:
            best = error, (float(floor), float(a), float(b))
    return best[1]


def chinchilla_objective(
    theta: np.ndarray, n: np.ndarray, d: np.ndarray, loss: np.ndarray, delta: float = 1e-3
) -> float:
    e, a, b, alpha, beta = theta
    # logaddexp takes the larger exponent out first, so nothing overflows.
    predicted = np.logaddexp(np.logaddexp(a - alpha * np.log(n), b - beta * np.log(d)), e)
    r = np.abs(predicted - np.log(loss))
    return float(np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)).sum())


def fit_chinchilla(
    n: np.ndarray, d: np.ndarray, loss: np.ndarray, starts: np.ndarray
) -> tuple[float, float, float, float, float]:
    # The objective is about 1e-5: with the usual tolerances the search would end where it began.
    tight = {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 10_000, "maxfun": 100_000}
    found = [
        minimize(chinchilla_objective, start, args=(n, d, loss), method="L-BFGS-B", options=tight) for start in starts
    ]
    e, a, b, alpha, beta = min(found, key=lambda result: result.fun).x.tolist()
    return math.exp(e), math.exp(a), math.exp(b), alpha, beta


def compute_optimal(budget: float, coefficients: tuple[float, float, float, float, float]) -> tuple[float, float]:
    _, a, b, alpha, beta = coefficients
    n = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (budget / 6) ** (beta / (alpha + beta))
    return n, budget / (6 * n)


def isoflop_minimum(n: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    u = np.log(n)
    # About the mean of u: powers of u itself, about 20, are nearly parallel.
    r, q, p = np.polyfit(u - u.mean(), loss, 2).tolist()
    if r <= 0:
        raise ValueError(f"the parabola has no minimum: r is {r}")
    return math.exp(u.mean() - q / (2 * r)), p - q**2 / (4 * r)


def isoflop_exponents(budgets: np.ndarray, n: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    best = np.array([isoflop_minimum(*row)[0] for row in zip(n, loss, strict=True)])
    return fit_power_law(budgets, best)[1], fit_power_law(budgets, budgets / (6 * best))[1]


def exact_match(loss: np.ndarray, length: int) -> np.ndarray:
    return np.exp(-length * np.asarray(loss))


def jump_share(values: np.ndarray) -> float:
    values = np.asarray(values, dtype=float)  # differences of unsigned integers would wrap around
    rise = float(values[-1]) - float(values[0])
    if rise <= 0:
        raise ValueError(f"the values must rise, but go from {values[0]} to {values[-1]}")
    return float(np.diff(values).max()) / rise


def chance_to_see(p: float, items: int) -> float:
    if p == 1:
        return 1.0
    # ln(1 - p) and 1 - e^x without the 1 that would swallow a tiny p.
    return -math.expm1(items * math.log1p(-p))


class _Line:
    """Least squares in logarithms."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.n = len(x)
        if self.n < 3:
            raise ValueError(f"a law with an interval needs at least 3 points, got {self.n}")
        u, v = np.log(x), np.log(y)
        self.middle, self.height = float(u.mean()), float(v.mean())
        self.spread = float(np.square(u - self.middle).sum())
        self.slope = float((u - self.middle) @ v) / self.spread
        residuals = v - self.height - self.slope * (u - self.middle)
        self.s = math.sqrt(float(residuals @ residuals) / (self.n - 2))

    def quantile(self, level: float) -> float:
        return float(t.ppf((1 + level) / 2, self.n - 2))
