"""Support vector machines: the reference."""

import math
from collections.abc import Callable

import numpy as np

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def hinge_loss(w: np.ndarray, b: float, x: np.ndarray, y: np.ndarray, lam: float) -> float:
    return float(lam / 2 * (w @ w) + np.maximum(0, 1 - y * (x @ w + b)).mean())


def hinge_gradient(w: np.ndarray, b: float, x: np.ndarray, y: np.ndarray, lam: float) -> tuple[np.ndarray, float]:
    # Only rows inside the margin pull; all others have loss 0 and slope 0.
    pull = np.where(y * (x @ w + b) < 1, y, 0)
    return lam * w - pull @ x / len(y), float(-pull.mean())


def pegasos(x: np.ndarray, y: np.ndarray, lam: float, steps: int, rng: np.random.Generator) -> np.ndarray:
    w = np.zeros(x.shape[1])
    for t, i in enumerate(rng.integers(len(y), size=steps), 1):
        rate = 1 / (lam * t)
        inside = y[i] * (w @ x[i]) < 1
        w = (1 - rate * lam) * w
        if inside:
            w = w + rate * y[i] * x[i]
    return w


def polynomial_kernel(a: np.ndarray, b: np.ndarray, degree: int = 3, constant: float = 1.0) -> np.ndarray:
    return (np.asarray(a, dtype=float) @ b.T + constant) ** degree


def rbf_kernel(a: np.ndarray, b: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    # ‖a‖² + ‖b‖² - 2 a·b would be faster, but loses the digits of small distances far from 0.
    squares = ((np.asarray(a, dtype=float)[:, None] - b[None, :]) ** 2).sum(axis=2)
    return np.exp(-gamma * squares)


def dual_objective(alpha: np.ndarray, y: np.ndarray, k: np.ndarray) -> float:
    signed = alpha * y
    return float(alpha.sum() - signed @ k @ signed / 2)


def kkt_violation(alpha: np.ndarray, b: float, y: np.ndarray, k: np.ndarray, c: float) -> np.ndarray:
    margin = y * (k @ (alpha * y) + b)
    # An alpha that may still grow wants a margin of 1 or more; one that may shrink, of 1 or less.
    too_small = np.where(alpha < c, 1 - margin, 0)
    too_large = np.where(alpha > 0, margin - 1, 0)
    return np.maximum(0, np.maximum(too_small, too_large))


def smo_step(alpha: np.ndarray, y: np.ndarray, k: np.ndarray, c: float, i: int, j: int) -> np.ndarray:
    # Along alpha_i += y_i t, alpha_j -= y_j t the sum of alpha·y stays, and the dual is
    # slope · t - curve · t²/2.
    lack = y - k @ (alpha * y)
    slope, curve = lack[i] - lack[j], k[i, i] + k[j, j] - 2 * k[i, j]
    if slope == 0:
        return np.array(alpha, dtype=float)
    best = slope / curve if curve > 0 else math.copysign(math.inf, slope)
    # How far t may go until one of the two meets 0 or c.
    low_i, high_i = (-alpha[i], c - alpha[i]) if y[i] > 0 else (alpha[i] - c, alpha[i])
    low_j, high_j = (alpha[j] - c, alpha[j]) if y[j] > 0 else (-alpha[j], c - alpha[j])
    t = min(max(best, low_i, low_j), high_i, high_j)
    new = np.array(alpha, dtype=float)
    # Clipped once more: rounding must not leave an alpha at 1e-17 below 0, or just short of c.
    new[i] = _snap(alpha[i] + y[i] * t, c)
    new[j] = _snap(alpha[j] - y[j] * t, c)
    return new


def _snap(value: float, c: float) -> float:
    return 0.0 if value < 1e-14 * c else c if value > (1 - 1e-14) * c else value


def smo(y: np.ndarray, k: np.ndarray, c: float, tol: float = 1e-6, max_steps: int = 10_000) -> tuple[np.ndarray, float]:
    alpha = np.zeros(len(y))
    for step in range(max_steps + 1):
        lack = y - k @ (alpha * y)
        # Where alpha·y may grow, and where it may shrink.
        up = np.where(y > 0, alpha < c, alpha > 0)
        down = np.where(y > 0, alpha > 0, alpha < c)
        i = int(np.where(up, lack, -np.inf).argmax())
        j = int(np.where(down, lack, np.inf).argmin())
        # The pair that violates KKT most.  b lies between the two, so neither is off by more than half.
        moved = alpha if lack[i] - lack[j] <= tol or step == max_steps else smo_step(alpha, y, k, c, i, j)
        # Where even the worst pair can't move, rounding allows no better.
        if np.array_equal(moved, alpha):
            return alpha, float((lack[i] + lack[j]) / 2)
        alpha = moved
    raise AssertionError("the last step returns")


def margin_width(alpha: np.ndarray, y: np.ndarray, k: np.ndarray) -> float:
    signed = alpha * y
    return float(2 / np.sqrt(signed @ k @ signed))


class SVC:
    def __init__(self, kernel: Kernel, c: float = 1.0, tol: float = 1e-6) -> None:
        self.kernel, self.c, self.tol = kernel, c, tol

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        classes = np.unique(y)
        if len(classes) != 2:
            raise ValueError(f"expected two classes, got {len(classes)}: {classes.tolist()}")
        self.classes = classes
        signs = np.where(y == classes[1], 1.0, -1.0)
        self.alpha, self.b = smo(signs, self.kernel(x, x), self.c, self.tol)
        # All other rows have no say in the decision.
        self.support = np.flatnonzero(self.alpha > 0)
        self._rows = x[self.support].copy()
        self._signed = (self.alpha * signs)[self.support]

    def decision(self, new: np.ndarray) -> np.ndarray:
        return self.kernel(new, self._rows) @ self._signed + self.b

    def predict(self, new: np.ndarray) -> np.ndarray:
        return self.classes[(self.decision(new) > 0).astype(int)]
