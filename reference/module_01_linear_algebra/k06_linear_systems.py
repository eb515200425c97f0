"""Linear systems: the reference."""

import numpy as np
from numpy.linalg import LinAlgError


def _square(a: np.ndarray) -> np.ndarray:
    """A float64 copy of `a`, checked to be square."""
    rows, columns = a.shape
    if rows != columns:
        raise ValueError(f"a must be square, got {rows} by {columns}")
    return np.array(a, dtype=np.float64)


def _check_diagonal(t: np.ndarray) -> None:
    if (np.diag(t) == 0).any():
        raise LinAlgError(f"the matrix is singular: 0 at {np.flatnonzero(np.diag(t) == 0)} of its diagonal")


def lu(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # One array holds both factors: the multipliers stand where elimination makes zeros,
    # so that swapping whole rows swaps the multipliers with them.
    packed = _square(a)
    order = np.arange(len(a))
    for k in range(len(a)):
        pivot = k + np.abs(packed[k:, k]).argmax()
        if packed[pivot, k] == 0:
            continue  # nothing to eliminate: u gets a 0 on its diagonal
        packed[[k, pivot]] = packed[[pivot, k]]
        order[[k, pivot]] = order[[pivot, k]]
        packed[k + 1 :, k] /= packed[k, k]
        packed[k + 1 :, k + 1 :] -= np.outer(packed[k + 1 :, k], packed[k, k + 1 :])
    return order, np.tril(packed, -1) + np.eye(len(a)), np.triu(packed)


def forward_substitution(l: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Exactly 0: how small is too small depends on the other numbers, and the answer shows it.
    _check_diagonal(l)
    x = np.array(b, dtype=np.float64)
    for i in range(len(x)):
        x[i] = (x[i] - l[i, :i] @ x[:i]) / l[i, i]
    return x


def back_substitution(u: np.ndarray, b: np.ndarray) -> np.ndarray:
    _check_diagonal(u)
    x = np.array(b, dtype=np.float64)
    for i in reversed(range(len(x))):
        x[i] = (x[i] - u[i, i + 1 :] @ x[i + 1 :]) / u[i, i]
    return x


def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    order, l, u = lu(a)
    if len(b) != len(a):
        raise ValueError(f"a has {len(a)} rows, but b has {len(b)}")
    return back_substitution(u, forward_substitution(l, b[order]))


def det(a: np.ndarray) -> float:
    order, _, u = lu(a)
    # A permutation is odd if an odd number of pairs stands in the wrong order.
    inversions = np.triu(order[:, None] > order).sum()
    return float((-1) ** inversions * np.diag(u).prod())


def inverse(a: np.ndarray) -> np.ndarray:
    # Column i of the inverse solves a x = eᵢ; `a` is factored once for all.
    return solve(a, np.eye(len(a)))


def cholesky(a: np.ndarray) -> np.ndarray:
    a = _square(a)
    l = np.zeros_like(a)
    for k in range(len(a)):
        # Row k of L Lᵀ = a, read from left to right, gives one new entry of L at a time.
        square = a[k, k] - l[k, :k] @ l[k, :k]
        if square <= 0:
            raise LinAlgError(f"the leading block of size {k + 1} is not positive definite")
        l[k, k] = np.sqrt(square)
        l[k + 1 :, k] = (a[k + 1 :, k] - l[k + 1 :, :k] @ l[k, :k]) / l[k, k]
    return l
