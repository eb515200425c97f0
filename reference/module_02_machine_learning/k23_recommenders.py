"""Recommenders: the reference."""

import numpy as np


def hold_out(users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    held = np.zeros(len(users), dtype=bool)
    order = rng.permutation(len(users))
    # In a random order, the first interaction of each user is a fair draw among theirs.
    _, first, counts = np.unique(users[order], return_index=True, return_counts=True)
    held[order[first[counts >= 2]]] = True
    return held


def popularity(items: np.ndarray, n_items: int) -> np.ndarray:
    return np.bincount(items, minlength=n_items).astype(np.float64)


def recommend(scores: np.ndarray, seen: np.ndarray, k: int) -> np.ndarray:
    n = seen.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to the {n} items, not {k}")
    open_scores = np.where(seen, -np.inf, scores)
    # Stable and of the negated scores: at a tie the lower number stays first.
    best = np.argsort(-open_scores, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(seen, best, axis=1), -1, best)


def _hits(recommended: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hits by rank (users, k) and numbers of relevant items (users,), of users who have any."""
    some = relevant.any(axis=1)
    if not some.any():
        raise ValueError("no user has a relevant item")
    lists, wanted = recommended[some], relevant[some]
    # Index -1 is numpy's last item: mask it out.
    return np.take_along_axis(wanted, lists, axis=1) & (lists >= 0), wanted.sum(axis=1)


def recall_at_k(recommended: np.ndarray, relevant: np.ndarray) -> float:
    hits, sizes = _hits(recommended, relevant)
    return float((hits.sum(axis=1) / sizes).mean())


def ndcg_at_k(recommended: np.ndarray, relevant: np.ndarray) -> float:
    hits, sizes = _hits(recommended, relevant)
    k = hits.shape[1]
    discount = 1 / np.log2(np.arange(2, k + 2))
    # The ideal list has all relevant items first, as far as k places reach.
    ideal = np.cumsum(discount)[np.minimum(sizes, k) - 1]
    return float((hits @ discount / ideal).mean())


def mean_average_precision(recommended: np.ndarray, relevant: np.ndarray) -> float:
    hits, sizes = _hits(recommended, relevant)
    k = hits.shape[1]
    precision = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    return float(((precision * hits).sum(axis=1) / np.minimum(sizes, k)).mean())


def solve_factors(r: np.ndarray, y: np.ndarray, alpha: float, reg: float) -> np.ndarray:
    f = y.shape[1]
    # What all users share is computed once; each adds only the items that they have met.
    shared = y.T @ y + reg * np.eye(f)
    x = np.zeros((len(r), f))
    for u, row in enumerate(r):
        met = np.flatnonzero(row)
        near = y[met]
        extra = alpha * np.asarray(row[met], dtype=np.float64)
        x[u] = np.linalg.solve(shared + (near.T * extra) @ near, near.T @ (1 + extra))
    return x


def als_loss(r: np.ndarray, x: np.ndarray, y: np.ndarray, alpha: float, reg: float) -> float:
    confidence = 1 + alpha * np.asarray(r, dtype=np.float64)
    errors = (r > 0) - x @ y.T
    return float((confidence * errors**2).sum() + reg * ((x**2).sum() + (y**2).sum()))


def implicit_als(
    r: np.ndarray, start: np.ndarray, alpha: float, reg: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    y = start
    for _ in range(steps):
        x = solve_factors(r, y, alpha, reg)
        # The items' half is the same problem, transposed.
        y = solve_factors(r.T, x, alpha, reg)
    return x, y


def bpr_loss(x: np.ndarray, y: np.ndarray, triples: np.ndarray, reg: float) -> float:
    u, i, j = triples.T
    margin = (x[u] * (y[i] - y[j])).sum(axis=1)
    size = (x[u] ** 2).sum(axis=1) + (y[i] ** 2).sum(axis=1) + (y[j] ** 2).sum(axis=1)
    # -ln σ(m) = ln(1 + e^-m), without overflow for large negative margins
    return float((np.logaddexp(0, -margin) + reg * size).mean())
