"""Eigenvalues: the reference."""

import math

import numpy as np


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def power_iteration(a: np.ndarray, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    v = _unit(start)
    for _ in range(steps):
        v = _unit(a @ v)
    # v has length 1, so this is the Rayleigh quotient.
    return float(v @ a @ v), v


def inverse_iteration(a: np.ndarray, shift: float, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    v = _unit(start)
    shifted = a - shift * np.eye(len(a))
    # Each step solves anew.  Factoring once would be quicker, but inverting would cost digits.
    for _ in range(steps):
        v = _unit(np.linalg.solve(shifted, v))
    return float(v @ a @ v), v


def deflate(a: np.ndarray, value: float, vector: np.ndarray) -> np.ndarray:
    v = _unit(vector)
    return a - value * np.outer(v, v)


def wilkinson_shift(a: np.ndarray) -> float:
    c, rest = a[-1, -1], np.linalg.norm(a[-1, :-1])
    d = (a[-2, -2] - c) / 2
    # At d = 0 both sides are equally near; np.sign would give 0 there, and a shift that can stall.
    return float(c - (1 if d >= 0 else -1) * rest**2 / (abs(d) + math.sqrt(d**2 + rest**2)))


def qr_algorithm(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = np.array(a, dtype=np.float64)
    vectors = np.eye(len(t))
    small = 1e-15 * np.linalg.norm(t)
    for m in range(len(t), 1, -1):
        # A view: the rows and columns that are still to be done.  The last row becomes (0 … 0 λ).
        block = t[:m, :m]
        while np.linalg.norm(block[-1, :-1]) > small:
            shift = wilkinson_shift(block) * np.eye(m)
            q, r = np.linalg.qr(block - shift)
            block[:] = r @ q + shift
            # Q acts on the first m coordinates alone: the product of all Q's mixes these columns.
            vectors[:, :m] = vectors[:, :m] @ q
    values = np.diag(t)
    order = values.argsort()
    return values[order], vectors[:, order]


def pagerank(links: np.ndarray, steps: int, damping: float = 0.85) -> np.ndarray:
    n = len(links)
    out = links.sum(1, keepdims=True)
    # A page without links behaves like one that links to every page.
    follow = np.where(out > 0, links, 1) / np.where(out > 0, out, n)
    rank = np.full(n, 1 / n)
    for _ in range(steps):
        rank = (1 - damping) / n + damping * (rank @ follow)
    return rank
