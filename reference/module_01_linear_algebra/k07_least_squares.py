"""Least squares: the reference."""

import math

import numpy as np


def _floats(a: np.ndarray) -> np.ndarray:
    """A copy of `a` in the number type to compute in."""
    return np.array(a, dtype=np.float32 if a.dtype == np.float32 else np.float64)


def reflector(x: np.ndarray) -> np.ndarray:
    v = _floats(x)
    # The sign makes this a sum of two numbers of one sign: no cancellation.
    v[0] += np.linalg.norm(v) * (1 if v[0] >= 0 else -1)
    length = np.linalg.norm(v)
    return v / length if length > 0 else v


def qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m, n = a.shape
    if m < n:
        raise ValueError(f"a needs at least as many rows as columns, got {m} rows and {n} columns")
    r = _floats(a)
    mirrors = []
    for k in range(n):
        v = reflector(r[k:, k])
        r[k:] -= 2 * np.outer(v, v @ r[k:])
        mirrors.append(v)
    # a = H₀H₁…R, so Q is the product of the mirrors.  Applied to n columns of the
    # identity from the last to the first, none of them is ever formed.
    q = np.eye(m, n, dtype=r.dtype)
    for k in reversed(range(n)):
        v = mirrors[k]
        q[k:] -= 2 * np.outer(v, v @ q[k:])
    # A mirror takes a column to -s‖x‖e₁, of either sign.  (Q S)(S R) is Q R for any diagonal S of ones and -1s.
    signs = np.copysign(1, np.diag(r))
    return q * signs, np.triu(r[:n]) * signs[:, None]


def lstsq(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # R's condition number is that of `a`, not its square.
    q, r = qr(a)
    return np.linalg.solve(r, q.T @ b)


def normal_equations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = _floats(a), _floats(b)
    return np.linalg.solve(a.T @ a, a.T @ b)


def condition_number(a: np.ndarray) -> float:
    sigma = np.linalg.svd(a, compute_uv=False)
    return float(sigma[0] / sigma[-1]) if sigma[-1] > 0 else math.inf
