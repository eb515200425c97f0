"""Linear regression: the reference."""

from itertools import combinations_with_replacement

import numpy as np


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, or a ValueError: (n,) minus (n, 1) would silently be (n, n)."""
    if np.ndim(x) != 2 or np.shape(y) != np.shape(x)[:1]:
        raise ValueError(f"x has shape {np.shape(x)} and y {np.shape(y)}; expected (n, d) and (n,)")
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def _design(x: np.ndarray) -> np.ndarray:
    """[1 x], whose rank must be full: otherwise many weights fit equally well."""
    design = np.column_stack([np.ones(len(x)), x])
    rank, columns = np.linalg.matrix_rank(design), design.shape[1]
    if rank < columns:
        raise ValueError(f"the rank of [1 x] is {rank}, but it has {columns} columns: some depend on others")
    return design


def least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    x, y = _checked(x, y)
    # Q and R instead of AᵀA, whose condition number is that of A squared.
    q, r = np.linalg.qr(_design(x))
    theta = np.linalg.solve(r, q.T @ y)
    return theta[1:], float(theta[0])


def gradient_descent(
    x: np.ndarray,
    y: np.ndarray,
    rate: float,
    steps: int,
) -> tuple[np.ndarray, float, np.ndarray]:
    x, y = _checked(x, y)
    weights, intercept, losses = np.zeros(x.shape[1]), 0.0, []
    for _ in range(steps):
        residuals = y - x @ weights - intercept
        losses.append((residuals**2).mean() / 2)
        weights = weights + rate * (x.T @ residuals) / len(x)
        intercept += rate * float(residuals.mean())
    losses.append(((y - x @ weights - intercept) ** 2).mean() / 2)
    return weights, intercept, np.array(losses)


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    if penalty < 0:
        raise ValueError(f"the penalty is {penalty}; expected 0 or more")
    x, y = _checked(x, y)
    x_mean, y_mean = x.mean(axis=0), y.mean()
    # Without their means, the best intercept is 0: it needs no place in the system, and no penalty.
    centred = x - x_mean
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (y - y_mean))
    return weights, float(y_mean - x_mean @ weights)


def polynomial_features(x: np.ndarray, degree: int) -> np.ndarray:
    if degree < 1:
        raise ValueError(f"the degree is {degree}; expected 1 or more")
    # Before the products: integers would overflow.
    x = np.asarray(x, dtype=np.float64)
    columns = range(x.shape[1])
    chosen = [c for k in range(1, degree + 1) for c in combinations_with_replacement(columns, k)]
    return np.column_stack([x[:, c].prod(axis=1) for c in chosen])


def _residuals(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    if np.shape(y) != np.shape(predicted):
        raise ValueError(f"y has shape {np.shape(y)}, the predictions {np.shape(predicted)}; expected the same")
    return np.asarray(y, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)


def r_squared(y: np.ndarray, predicted: np.ndarray) -> float:
    left = float((_residuals(y, predicted) ** 2).sum())
    # Not by the spread being 0: the mean of equal numbers may differ from them by rounding.
    if np.min(y) == np.max(y):
        return 1.0 if left == 0 else 0.0
    return 1 - left / float(((y - np.mean(y)) ** 2).sum())


def mean_absolute_error(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(_residuals(y, predicted)).mean())


def root_mean_squared_error(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt((_residuals(y, predicted) ** 2).mean()))


def standard_errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    weights, intercept = least_squares(x, y)
    n, parameters = len(x), len(weights) + 1
    if n <= parameters:
        raise ValueError(f"{n} rows leave nothing to estimate the noise from: {parameters} parameters were fitted")
    design = _design(x)
    noise = ((y - x @ weights - intercept) ** 2).sum() / (n - parameters)
    return np.sqrt(noise * np.diag(np.linalg.inv(design.T @ design)))
