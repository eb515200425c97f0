"""Vectors: the reference."""

import numpy as np


def dot(x: np.ndarray, y: np.ndarray) -> float:
    _check_lengths(x, y)
    # Small integers would overflow in their own type.
    return (x.astype(np.float64) * y).sum()


def norm(x: np.ndarray, p: float = 2.0) -> float:
    if p < 1:
        raise ValueError(f"p must be at least 1, got {p}")
    sizes = np.abs(x.astype(np.float64))
    # With the largest entry at 1 no power overflows, and those that vanish don't count.
    peak = sizes.max()
    if peak == 0:
        return peak
    # p = ∞ needs no case of its own: ratios below 1 become 0, and any count to the power 1/∞ is 1.
    return peak * ((sizes / peak) ** p).sum() ** (1 / p)


def cosine_similarity(x: np.ndarray, y: np.ndarray) -> float:
    # Rounding may take the product of parallel vectors a little beyond 1.
    return np.clip(dot(_unit(x), _unit(y)), -1.0, 1.0)


def angle(x: np.ndarray, y: np.ndarray) -> float:
    _check_lengths(x, y)
    u, v = _unit(x), _unit(y)
    # The diagonals of a rhombus: they keep the digits that the cosine loses near 0 and π.
    return 2 * np.arctan2(norm(u - v), norm(u + v))


def projection(x: np.ndarray, onto: np.ndarray) -> np.ndarray:
    u = _unit(onto)
    return dot(x, u) * u


def gram_schmidt(a: np.ndarray, tol: float = 1e-10) -> np.ndarray:
    q = a.astype(np.float64)
    for j in range(a.shape[1]):
        for i in range(j):
            # Modified: project what is left of the column, not the column as it was given.
            q[:, j] -= dot(q[:, i], q[:, j]) * q[:, i]
        left = norm(q[:, j])
        # Relative to the column itself: its scale says nothing about whether it depends on others.
        if left <= tol * norm(a[:, j]):
            raise ValueError(f"column {j} depends on the columns before it; expected independent columns")
        q[:, j] /= left
    return q


def _unit(x: np.ndarray) -> np.ndarray:
    length = norm(x)
    if length == 0:
        raise ValueError("a vector of zeros has no direction: expected one that isn't zero")
    return x / length


def _check_lengths(x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise ValueError(f"both vectors must have the same length, got {len(x)} and {len(y)}")
