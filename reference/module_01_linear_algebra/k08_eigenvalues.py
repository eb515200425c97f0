"""Eigenvalues: the reference."""

import math

import numpy as np


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def power_iteration(a: np.ndarray, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    v = _unit(start)
    for _ in range(steps):
        v = _unit(a @ v)
    return float(v @ a @ v), v


def inverse_iteration(a: np.ndarray, shift: float, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    v = _unit(start)
    shifted = a - shift * np.eye(len(a))
    for _ in range(steps):
        v = _unit(np.linalg.solve(shifted, v))
    return float(v @ a @ v), v


def deflate(a: np.ndarray, value: float, vector: np.ndarray) -> np.ndarray:
    v = _unit(vector)
    return a - value * np.outer(v, v)


def qr_algorithm(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = np.array(a, dtype=np.float64)
    vectors = np.eye(len(t))
    small = 1e-15 * np.linalg.norm(t)
    for m in reversed(range(1, len(t))):
        # Rows and columns 0…m are still to be done; row m is next to become (0 … 0 λ).
        while (rest := float(np.linalg.norm(t[m, :m]))) > small:
            d = (t[m - 1, m - 1] - t[m, m]) / 2
            shift = t[m, m] - math.copysign(rest**2, d) / (abs(d) + math.hypot(d, rest))
            block = t[: m + 1, : m + 1] - shift * np.eye(m + 1)
            q, r = np.linalg.qr(block)
            t[: m + 1, : m + 1] = r @ q + shift * np.eye(m + 1)
            vectors[:, : m + 1] = vectors[:, : m + 1] @ q
    values = np.diag(t)
    order = values.argsort()
    return values[order], vectors[:, order]


def pagerank(links: np.ndarray, damping: float = 0.85) -> np.ndarray:
    n = len(links)
    out = links.sum(1, keepdims=True)
    # A page without links behaves like one that links to every page.
    follow = np.where(out > 0, links, 1) / np.where(out > 0, out, n)
    rank, before = np.full(n, 1 / n), np.zeros(n)
    # Every step shrinks the error by the damping factor.
    while np.abs(rank - before).sum() > 1e-10 * (1 - damping):
        rank, before = (1 - damping) / n + damping * (rank @ follow), rank
    return rank
