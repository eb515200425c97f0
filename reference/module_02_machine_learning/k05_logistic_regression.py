"""Logistic regression: the reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def sigmoid(z: np.ndarray) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    # e to a negative power alone: it may underflow, but never overflows.
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + small), small / (1 + small))


def binary_cross_entropy(
    z: np.ndarray,
    y: np.ndarray,
    row_weights: np.ndarray | None = None,
) -> float:
    if np.shape(z) != np.shape(y):
        raise ValueError(f"z has shape {np.shape(z)} and y {np.shape(y)}; expected the same")
    z, y = np.asarray(z, dtype=np.float64), np.asarray(y, dtype=np.float64)
    # For a label 1 and z > 0, z - z y is exactly 0, and log1p keeps the digits of what is left.
    losses = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    return float(np.average(losses, weights=row_weights))


def gradient(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    intercept: float,
    penalty: float = 0.0,
    row_weights: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    x = np.asarray(x, dtype=np.float64)
    pull = sigmoid(x @ weights + intercept) - y
    if row_weights is not None:
        pull = row_weights * pull
    return x.T @ pull + penalty * np.asarray(weights, dtype=np.float64), float(pull.sum())


def newton_step(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    intercept: float,
    penalty: float,
    row_weights: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    n, d = x.shape
    # With a column of ones the intercept is one more weight, but for its penalty.
    design = np.column_stack([x, np.ones(n)])
    z = x @ np.asarray(weights, dtype=np.float64) + intercept
    # σ(-z) rather than 1 - σ(z), which is 0 once σ(z) rounds to 1.
    curvature = sigmoid(z) * sigmoid(-z) * (1.0 if row_weights is None else row_weights)
    hessian = (design.T * curvature) @ design + penalty * np.diag([1.0] * d + [0.0])
    slope, slope_b = gradient(x, y, weights, intercept, penalty, row_weights)
    step = np.linalg.solve(hessian, np.append(slope, slope_b))
    return step[:d], float(step[d])


def balanced_weights(y: np.ndarray) -> np.ndarray:
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    return len(codes) / (len(classes) * counts[codes])


def _checked_penalty(penalty: float) -> float:
    if penalty <= 0:
        raise ValueError(f"the penalty is {penalty}; expected more than 0: separable classes have no other best fit")
    return penalty


def _minimise(
    f: Callable[[np.ndarray], float],
    newton: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    start: np.ndarray,
) -> np.ndarray:
    """Newton's method with step halving; `newton` gives the gradient and the step at a point."""
    x = start
    for _ in range(100):
        slope, step = newton(x)
        # Half of this is what f would still gain if it were the parabola that Newton takes it for.
        if slope @ step <= 1e-10:
            break
        before, share = f(x), 1.0
        while f(x - share * step) > before and share > 1e-6:
            share /= 2
        x = x - share * step
    return x


class LogisticRegression:
    def __init__(self, penalty: float = 1.0, balanced: bool = False) -> None:
        self.penalty, self.balanced = _checked_penalty(penalty), balanced

    def fit(self, x: np.ndarray, y: np.ndarray) -> LogisticRegression:
        x = np.asarray(x, dtype=np.float64)
        self.classes, labels = np.unique(y, return_inverse=True)
        if len(self.classes) != 2:
            raise ValueError(f"there are {len(self.classes)} classes; expected 2")
        rows = balanced_weights(labels) if self.balanced else np.ones(len(labels))

        def objective(theta: np.ndarray) -> float:
            loss = rows.sum() * binary_cross_entropy(x @ theta[:-1] + theta[-1], labels, rows)
            return loss + self.penalty / 2 * float(theta[:-1] @ theta[:-1])

        def newton(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            at = (x, labels, theta[:-1], theta[-1], self.penalty, rows)
            return np.append(*gradient(*at)), np.append(*newton_step(*at))

        theta = _minimise(objective, newton, np.zeros(x.shape[1] + 1))
        self.weights, self.intercept = theta[:-1], float(theta[-1])
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        z = x @ self.weights + self.intercept
        return np.column_stack([sigmoid(-z), sigmoid(z)])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[(x @ self.weights + self.intercept > 0).astype(int)]


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


class SoftmaxRegression:
    def __init__(self, penalty: float = 1.0) -> None:
        self.penalty = _checked_penalty(penalty)

    def fit(self, x: np.ndarray, y: np.ndarray) -> SoftmaxRegression:
        self.classes, labels = np.unique(y, return_inverse=True)
        if len(self.classes) < 2:
            raise ValueError(f"there are {len(self.classes)} classes; expected 2 or more")
        (n, d), k = np.shape(x), len(self.classes)
        design, target = np.column_stack([x, np.ones(n)]), np.eye(k)[labels]
        penalties = np.tile([self.penalty] * d + [0.0], k)

        def objective(theta: np.ndarray) -> float:
            log_p = log_softmax(design @ theta.reshape(k, d + 1).T)
            return float(penalties @ theta**2 / 2 - (target * log_p).sum())

        def newton(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            p = np.exp(log_softmax(design @ theta.reshape(k, d + 1).T))
            slope = ((p - target).T @ design).ravel() + penalties * theta
            # Block (a, b) of the Hessian: the rows' products, weighted by how z_b moves p_a.
            moves = p[:, :, None] * (np.eye(k) - p[:, None, :])
            hessian = np.einsum("nab,ni,nj->aibj", moves, design, design, optimize=True).reshape(theta.size, -1)
            hessian += np.diag(penalties)
            # Moving all intercepts alike changes nothing, so the Hessian is singular: take the shortest step.
            return slope, np.linalg.lstsq(hessian, slope, rcond=None)[0]

        theta = _minimise(objective, newton, np.zeros(k * (d + 1))).reshape(k, d + 1)
        self.weights, self.intercepts = theta[:, :d], theta[:, d] - theta[:, d].mean()
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(x @ self.weights.T + self.intercepts))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[(x @ self.weights.T + self.intercepts).argmax(axis=1)]


class OneVsRest:
    def __init__(self, penalty: float = 1.0, balanced: bool = False) -> None:
        self.penalty, self.balanced = penalty, balanced

    def fit(self, x: np.ndarray, y: np.ndarray) -> OneVsRest:
        y = np.asarray(y)
        self.classes = np.unique(y)
        if len(self.classes) < 2:
            raise ValueError(f"there are {len(self.classes)} classes; expected 2 or more")
        self.models = [LogisticRegression(self.penalty, self.balanced).fit(x, y == c) for c in self.classes]
        return self

    def _logits(self, x: np.ndarray) -> np.ndarray:
        return np.column_stack([x @ model.weights + model.intercept for model in self.models])

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        z = self._logits(x)
        # log σ(z); a softmax of these is the sigmoids over their sum, and can't be 0/0.
        log_p = np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))
        return np.exp(log_softmax(log_p))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[self._logits(x).argmax(axis=1)]
