"""Histogram boosting: the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .k11_gradient_boosting import base_score, gradients


@dataclass(eq=False)
class BinNode:
    weight: float
    rows: int
    feature: int | None = None
    bin: int | None = None
    left: BinNode | None = None
    right: BinNode | None = None


def bin_edges(column: np.ndarray, bins: int) -> np.ndarray:
    if not 2 <= bins <= 256:
        raise ValueError(f"bins must be from 2 to 256, to fit into a byte, got {bins}")
    column = np.asarray(column, dtype=np.float64)
    distinct = np.unique(column)
    if len(distinct) <= bins:
        return (distinct[:-1] + distinct[1:]) / 2
    # Quantiles that coincide would leave bins empty.
    return np.unique(np.quantile(column, np.arange(1, bins) / bins))


def bin_rows(x: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    if x.shape[1] != len(edges):
        raise ValueError(f"x has {x.shape[1]} columns, but there are edges for {len(edges)}")
    binned = np.empty(x.shape, dtype=np.uint8)
    for j, edge in enumerate(edges):
        # "left": a value on an edge stays below it, as x ≤ threshold goes left.
        binned[:, j] = np.searchsorted(edge, x[:, j], side="left")
    return binned


def histograms(binned: np.ndarray, g: np.ndarray, h: np.ndarray, bins: int) -> np.ndarray:
    d = binned.shape[1]
    # One long row of d · bins places: column j's bins begin at j · bins.
    places = (binned + np.arange(d) * bins).ravel()
    sums = [np.bincount(places, np.repeat(v, d), d * bins) for v in (g, h, np.ones(len(g)))]
    # bincount of nothing counts in integers.
    return np.stack(sums, axis=-1).reshape(d, bins, 3).astype(np.float64, copy=False)


def best_bin_split(
    histogram: np.ndarray, lam: float = 0.0, gamma: float = 0.0, min_leaf: int = 1
) -> tuple[int, int, float] | None:
    left = np.cumsum(histogram, axis=1)[:, :-1]
    total = histogram[0].sum(axis=0)
    right = total - left

    def worth(sums: np.ndarray) -> np.ndarray:
        h = sums[..., 1] + lam
        return np.where(h > 0, sums[..., 0] ** 2 / np.where(h > 0, h, 1.0), 0.0) / 2

    gains = worth(left) + worth(right) - worth(total) - gamma
    # Counts are sums of ones: half a row below min_leaf is safe from rounding.
    allowed = np.minimum(left[..., 2], right[..., 2]) > min_leaf - 0.5
    gains = np.where(allowed, gains, -np.inf)
    if gains.size == 0 or gains.max() <= 1e-9:
        return None
    feature, place = np.unravel_index(gains.argmax(), gains.shape)
    return int(feature), int(place), float(gains[feature, place])


def grow_leafwise(
    binned: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    bins: int,
    max_leaves: int = 31,
    min_leaf: int = 20,
    lam: float = 0.0,
    gamma: float = 0.0,
) -> BinNode:
    def leaf(rows: np.ndarray, histogram: np.ndarray) -> tuple:
        g_sum, h_sum, _ = histogram[0].sum(axis=0)
        node = BinNode(float(-g_sum / (h_sum + lam)) if h_sum + lam > 0 else 0.0, len(rows))
        return node, rows, histogram, best_bin_split(histogram, lam, gamma, min_leaf)

    root, *_ = first = leaf(np.arange(len(g)), histograms(binned, g, h, bins))
    leaves = [first]
    while len(leaves) < max_leaves:
        # Of all leaves the one that gains most, wherever it hangs: not level by level.
        place = max(range(len(leaves)), key=lambda i: leaves[i][3][2] if leaves[i][3] else -np.inf)
        node, rows, histogram, split = leaves[place]
        if split is None:
            break
        node.feature, node.bin, _ = split
        goes_left = binned[rows, node.feature] <= node.bin
        small, large = rows[goes_left], rows[~goes_left]
        swapped = len(small) > len(large)
        if swapped:
            small, large = large, small
        # Only the smaller side is summed; the rest of the parent's sums is the other's.
        part = histograms(binned[small], g[small], h[small], bins)
        children = [leaf(small, part), leaf(large, histogram - part)]
        if swapped:
            children.reverse()
        node.left, node.right = children[0][0], children[1][0]
        leaves[place : place + 1] = children
    return root


def tree_values(root: BinNode, binned: np.ndarray) -> np.ndarray:
    values = np.zeros(len(binned))
    waiting = [(root, np.arange(len(binned)))]
    while waiting:
        node, rows = waiting.pop()
        if node.left is None:
            values[rows] = node.weight
        else:
            goes_left = binned[rows, node.feature] <= node.bin
            waiting += [(node.left, rows[goes_left]), (node.right, rows[~goes_left])]
    return values


class HistogramBoosting:
    def __init__(
        self,
        loss: str = "squared",
        trees: int = 100,
        rate: float = 0.1,
        bins: int = 255,
        max_leaves: int = 31,
        min_leaf: int = 20,
        lam: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        self.loss, self.trees, self.rate, self.bins = loss, trees, rate, bins
        self.max_leaves, self.min_leaf, self.lam, self.gamma = max_leaves, min_leaf, lam, gamma

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.edges = [bin_edges(column, self.bins) for column in x.T]
        # Binned once: from here on the trees see bytes.
        binned = bin_rows(x, self.edges)
        self.base = base_score(self.loss, y)
        self.members: list[BinNode] = []
        raw = np.full(len(y), self.base)
        for _ in range(self.trees):
            g, h = gradients(self.loss, y, raw)
            limits = self.max_leaves, self.min_leaf, self.lam, self.gamma
            root = grow_leafwise(binned, g, h, self.bins, *limits)
            self.members.append(root)
            raw += self.rate * tree_values(root, binned)

    def raw(self, x: np.ndarray) -> np.ndarray:
        binned = bin_rows(x, self.edges)
        return self.base + self.rate * sum((tree_values(root, binned) for root in self.members), np.zeros(len(x)))
