"""Anomalies and imbalance: the reference."""

import math
from typing import Any

import numpy as np

Tree = dict[str, Any]


def average_path(n: int) -> float:
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2 * (math.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n


def grow_tree(x: np.ndarray, limit: int, rng: np.random.Generator) -> Tree:
    # A feature that is constant here can't part the rows.
    varying = np.flatnonzero(x.min(axis=0) < x.max(axis=0)) if len(x) > 1 else np.array([], dtype=int)
    if limit == 0 or varying.size == 0:
        return {"size": len(x)}
    feature = int(rng.choice(varying))
    column = x[:, feature]
    threshold = float(rng.uniform(column.min(), column.max()))
    left = column < threshold
    return {
        "feature": feature,
        "threshold": threshold,
        "left": grow_tree(x[left], limit - 1, rng),
        "right": grow_tree(x[~left], limit - 1, rng),
    }


def path_lengths(tree: Tree, x: np.ndarray) -> np.ndarray:
    # A leaf of several rows stands for the tree that wasn't grown below it.
    if "size" in tree:
        return np.full(len(x), average_path(tree["size"]))
    left = x[:, tree["feature"]] < tree["threshold"]
    lengths = np.empty(len(x))
    lengths[left] = 1 + path_lengths(tree["left"], x[left])
    lengths[~left] = 1 + path_lengths(tree["right"], x[~left])
    return lengths


class IsolationForest:
    def __init__(self, trees: int, sample: int, rng: np.random.Generator) -> None:
        self._count, self._sample, self._rng = trees, sample, rng

    def fit(self, x: np.ndarray) -> None:
        if len(x) < 2:
            raise ValueError(f"a forest needs 2 rows or more, got {len(x)}")
        self.sample = min(self._sample, len(x))
        # Deeper than this a row is no anomaly, so growing on would be wasted.
        limit = math.ceil(math.log2(self.sample))
        draws = [self._rng.choice(len(x), self.sample, replace=False) for _ in range(self._count)]
        self.trees = [grow_tree(x[rows], limit, self._rng) for rows in draws]

    def score(self, new: np.ndarray) -> np.ndarray:
        mean = np.mean([path_lengths(tree, new) for tree in self.trees], axis=0)
        return 2 ** (-mean / average_path(self.sample))


def smote(x: np.ndarray, count: int, k: int, rng: np.random.Generator) -> np.ndarray:
    if not 1 <= k < len(x):
        raise ValueError(f"k must be from 1 to one less than the number of rows, {len(x)}; got {k}")
    x = np.asarray(x, dtype=float)
    distances = ((x[:, None] - x) ** 2).sum(axis=2)
    # A row is no neighbour of its own.  By place, not by distance 0: another row may be equal to it.
    np.fill_diagonal(distances, np.inf)
    neighbors = np.argsort(distances, axis=1, kind="stable")[:, :k]
    base = rng.integers(len(x), size=count)
    other = neighbors[base, rng.integers(k, size=count)]
    # One share for a whole row: a share for each feature would leave the segment.
    share = rng.random((count, 1))
    return x[base] + share * (x[other] - x[base])


def balanced_weights(y: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(y, return_inverse=True, return_counts=True)
    return len(y) / (len(counts) * counts[place])


def cost_threshold(false_alarm: float, miss: float) -> float:
    # Calling a row positive costs (1 - p)·false_alarm on average, negative p·miss.
    return false_alarm / (false_alarm + miss)


def best_threshold(y: np.ndarray, scores: np.ndarray, false_alarm: float, miss: float) -> tuple[float, float]:
    positive = np.asarray(y, dtype=bool)
    # From the highest down, so that argmin takes the highest of equally cheap ones.
    thresholds = np.append(np.inf, np.unique(scores)[::-1])
    called = scores >= thresholds[:, None]
    costs = false_alarm * (called & ~positive).sum(axis=1) + miss * (~called & positive).sum(axis=1)
    best = int(costs.argmin())
    return float(thresholds[best]), float(costs[best])


def corrected_probability(p: np.ndarray, trained_share: float, true_share: float) -> np.ndarray:
    p = np.asarray(p, dtype=float)
    positive = p * true_share / trained_share
    negative = (1 - p) * (1 - true_share) / (1 - trained_share)
    return positive / (positive + negative)
