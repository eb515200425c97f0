"""Lasso and elastic net: the reference."""

import numpy as np


def soft_threshold(z: np.ndarray, threshold: float) -> np.ndarray:
    if threshold < 0:
        raise ValueError(f"the threshold is {threshold}; expected 0 or more")
    z = np.asarray(z, dtype=np.float64)
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0)


def objective(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    intercept: float,
    penalty: float,
    l1_ratio: float = 1.0,
) -> float:
    residuals = y - np.asarray(x, dtype=np.float64) @ weights - intercept
    lasso = penalty * l1_ratio * np.abs(weights).sum()
    ridge = penalty * (1 - l1_ratio) / 2 * (np.asarray(weights, dtype=np.float64) ** 2).sum()
    return float((residuals**2).sum() / (2 * len(y)) + lasso + ridge)


def sweep(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    l1_ratio: float = 1.0,
) -> np.ndarray:
    x, weights = np.asarray(x, dtype=np.float64), np.array(weights, dtype=np.float64)
    n, d = x.shape
    squares = (x**2).sum(axis=0) / n
    # Kept up to date: computing y - x @ weights anew for each weight would cost d times as much.
    residuals = y - x @ weights
    for j in range(d):
        before = weights[j]
        if squares[j] == 0:
            weights[j] = 0.0
        else:
            # What column j sees: the residuals without its own share of the fit.
            z = x[:, j] @ residuals / n + squares[j] * before
            weights[j] = soft_threshold(z, penalty * l1_ratio) / (squares[j] + penalty * (1 - l1_ratio))
        residuals -= x[:, j] * (weights[j] - before)
    return weights


def duality_gap(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    l1_ratio: float = 1.0,
) -> float:
    x, weights = np.asarray(x, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    n, lasso, ridge = len(y), penalty * l1_ratio, penalty * (1 - l1_ratio)
    residuals = y - x @ weights
    steepest = np.abs(x.T @ residuals / n - ridge * weights).max()
    # Shrunk until no column's correlation exceeds the threshold, the residuals are a point of the dual problem.
    shrink = 1.0 if steepest == 0 else min(1.0, lasso / steepest)
    squares = residuals @ residuals / n + ridge * (weights @ weights)
    return float((1 + shrink**2) / 2 * squares + lasso * np.abs(weights).sum() - shrink * (residuals @ y) / n)


def _centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    # The mean of equal numbers may differ from them by rounding: of 0.1 three times, by 1e-17.
    target = np.zeros(len(y)) if np.ptp(y) == 0 else y - y.mean()
    return x - x.mean(axis=0), target


def elastic_net(
    x: np.ndarray,
    y: np.ndarray,
    penalty: float,
    l1_ratio: float = 1.0,
    start: np.ndarray | None = None,
    tol: float = 1e-8,
    max_sweeps: int = 1000,
) -> tuple[np.ndarray, float, int]:
    if penalty <= 0:
        raise ValueError(f"the penalty is {penalty}; expected more than 0")
    if not 0 < l1_ratio <= 1:
        raise ValueError(f"l1_ratio is {l1_ratio}; expected more than 0 and at most 1")
    centred, target = _centred(x, y)
    weights = np.zeros(centred.shape[1]) if start is None else np.array(start, dtype=np.float64)
    # Relative to the objective at w = 0, so that the units of y don't matter.
    small, sweeps = tol * (target @ target) / (2 * len(target)), 0
    while sweeps < max_sweeps and duality_gap(centred, target, weights, penalty, l1_ratio) > small:
        weights = sweep(centred, target, weights, penalty, l1_ratio)
        sweeps += 1
    return weights, float(np.mean(y) - np.mean(x, axis=0) @ weights), sweeps


def largest_penalty(x: np.ndarray, y: np.ndarray, l1_ratio: float = 1.0) -> float:
    centred, target = _centred(x, y)
    return float(np.abs(centred.T @ target).max() / (len(target) * l1_ratio))


def path(
    x: np.ndarray,
    y: np.ndarray,
    l1_ratio: float = 1.0,
    count: int = 20,
    ratio: float = 1e-3,
    tol: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    largest = largest_penalty(x, y, l1_ratio)
    if largest == 0:
        raise ValueError("all weights are 0 for any penalty: y is constant, or no column goes with it")
    penalties = np.geomspace(largest, ratio * largest, count)
    weights, fits = None, []
    for penalty in penalties:
        weights, intercept, sweeps = elastic_net(x, y, float(penalty), l1_ratio, weights, tol)
        fits.append((weights, intercept, sweeps))
    all_weights, intercepts, all_sweeps = zip(*fits, strict=True)
    return penalties, np.stack(all_weights), np.array(intercepts), np.array(all_sweeps)
