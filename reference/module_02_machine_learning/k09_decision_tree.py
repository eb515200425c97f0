"""Decision trees: the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

CRITERIA = ("gini", "entropy", "squared")


@dataclass(eq=False)
class Node:
    value: np.ndarray | float
    rows: int
    impurity: float
    feature: int | None = None
    threshold: float | None = None
    left: Node | None = None
    right: Node | None = None


def _check(criterion: str) -> None:
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")


def impurity(y: np.ndarray, criterion: str) -> float:
    _check(criterion)
    if criterion == "squared":
        return float(np.var(np.asarray(y, dtype=np.float64)))
    _, counts = np.unique(y, return_counts=True)
    p = counts / counts.sum()
    # np.unique counts only what occurs, so no p is 0 and the logarithm is safe.
    return float(1 - p @ p) if criterion == "gini" else float(-(p @ np.log2(p)))


def _impure(sums: np.ndarray, n: np.ndarray | int, criterion: str) -> np.ndarray:
    """n times the impurity of n rows with these sums (…, k), less what is the same on both sides of every split."""
    if criterion == "entropy":
        shares = sums / n
        return -(sums * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=-1)
    # n(1 - ∑p²) and ∑(y - mean)² are a constant less this: Gini is the variance of the one-hot classes.
    return -(sums**2 / n).sum(axis=-1)


def best_split(
    x: np.ndarray, y: np.ndarray, criterion: str, min_leaf: int = 1, features: np.ndarray | None = None
) -> tuple[int, float, float] | None:
    _check(criterion)
    columns = np.arange(x.shape[1]) if features is None else np.asarray(features)
    x, n = np.asarray(x, dtype=np.float64)[:, columns], len(y)
    if criterion == "squared":
        # Around its mean, so that the squares of sums don't cancel.
        targets = (np.asarray(y, dtype=np.float64) - np.mean(y, dtype=np.float64))[:, None]
    else:
        classes, codes = np.unique(y, return_inverse=True)
        targets = np.eye(len(classes))[codes]
    if n < 2 or (targets == targets[0]).all():
        return None
    order = np.argsort(x, axis=0)
    values = np.take_along_axis(x, order, axis=0)
    # Row i: what the i + 1 smallest rows of each column add up to, the left side of a split behind them.
    left = np.cumsum(targets[order], axis=0)[:-1]  # (n - 1, columns, k)
    total, n_left = targets.sum(axis=0), np.arange(1, n)[:, None, None]
    after = _impure(left, n_left, criterion) + _impure(total - left, n - n_left, criterion)
    gains = (_impure(total, n, criterion) - after) / n
    # Equal values can't be parted, and each side needs its rows.
    allowed = (values[:-1] < values[1:]) & (np.minimum(n_left, n - n_left)[..., 0] >= min_leaf)
    if not allowed.any():
        return None
    # Transposed, the lowest column wins a tie, then the lowest threshold.
    column, row = np.unravel_index(np.where(allowed, gains, -np.inf).T.argmax(), gains.T.shape)
    low, high = values[row, column], values[row + 1, column]
    middle = low / 2 + high / 2
    threshold = middle if low <= middle < high else low
    return int(columns[column]), float(threshold), float(gains[row, column])


def grow(
    x: np.ndarray,
    y: np.ndarray,
    criterion: str,
    max_depth: int | None = None,
    min_leaf: int = 1,
    max_features: int | None = None,
    rng: np.random.Generator | None = None,
) -> Node:
    x = np.asarray(x, dtype=np.float64)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows, but y has {len(y)}")
    if len(y) == 0:
        raise ValueError("a tree can't grow from an empty table")
    classes = None if criterion == "squared" else int(np.max(y)) + 1

    def branch(rows: np.ndarray, depth: int) -> Node:
        here = y[rows]
        value = float(np.mean(here)) if classes is None else np.bincount(here, minlength=classes) / len(here)
        node = Node(value, len(here), impurity(here, criterion))
        if max_depth is not None and depth >= max_depth:
            return node
        # Drawn anew in each node: a column that is passed over here may be used below.
        drawn = None if max_features is None else rng.choice(x.shape[1], max_features, replace=False)
        split = best_split(x[rows], here, criterion, min_leaf, drawn)
        if split is not None:
            node.feature, node.threshold, _ = split
            goes_left = x[rows, node.feature] <= node.threshold
            node.left = branch(rows[goes_left], depth + 1)
            node.right = branch(rows[~goes_left], depth + 1)
        return node

    return branch(np.arange(len(y)), 0)


def leaf_rows(root: Node, x: np.ndarray) -> list[tuple[Node, np.ndarray]]:
    def walk(node: Node, rows: np.ndarray) -> Iterator[tuple[Node, np.ndarray]]:
        if node.left is None:
            yield node, rows
        else:
            goes_left = x[rows, node.feature] <= node.threshold
            yield from walk(node.left, rows[goes_left])
            yield from walk(node.right, rows[~goes_left])

    # A float32 column would round the threshold, perhaps up to the larger of its two neighbours.
    x = np.asarray(x, np.float64)
    return list(walk(root, np.arange(len(x))))


class DecisionTreeClassifier:
    def __init__(
        self,
        criterion: str = "gini",
        max_depth: int | None = None,
        min_leaf: int = 1,
        max_features: int | None = None,
    ) -> None:
        self.criterion = criterion
        self.max_depth, self.min_leaf, self.max_features = max_depth, min_leaf, max_features

    def fit(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator | None = None) -> None:
        self.classes, codes = np.unique(y, return_inverse=True)
        self.root = grow(x, codes, self.criterion, self.max_depth, self.min_leaf, self.max_features, rng)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        shares = np.zeros((len(x), len(self.classes)))
        for leaf, rows in leaf_rows(self.root, x):
            shares[rows] = leaf.value
        return shares

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[self.predict_proba(x).argmax(axis=1)]


class DecisionTreeRegressor:
    def __init__(self, max_depth: int | None = None, min_leaf: int = 1, max_features: int | None = None) -> None:
        self.max_depth, self.min_leaf, self.max_features = max_depth, min_leaf, max_features

    def fit(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator | None = None) -> None:
        self.root = grow(x, y, "squared", self.max_depth, self.min_leaf, self.max_features, rng)

    def predict(self, x: np.ndarray) -> np.ndarray:
        means = np.zeros(len(x))
        for leaf, rows in leaf_rows(self.root, x):
            means[rows] = leaf.value
        return means


def id3_split(x: np.ndarray, y: np.ndarray, ratio: bool = False) -> tuple[int, float, dict[object, np.ndarray]]:
    best: tuple[int, float, dict[object, np.ndarray]] | None = None
    for j in range(x.shape[1]):
        column = x[:, j]
        groups = {category: np.flatnonzero(column == category) for category in np.unique(column).tolist()}
        remaining = sum(len(rows) / len(y) * impurity(y[rows], "entropy") for rows in groups.values())
        score = impurity(y, "entropy") - remaining
        if ratio:
            # A constant column says nothing and costs nothing: 0/0 counts as 0.
            score = score / impurity(column, "entropy") if len(groups) > 1 else 0.0
        # Gains that differ by rounding alone are equal: the first column keeps its place.
        if best is None or score > best[1] + 1e-12:
            best = j, score, groups
    return best


def _cost(node: Node) -> tuple[float, int]:
    """(∑ rows · impurity over the leaves, number of leaves)."""
    if node.left is None:
        return node.rows * node.impurity, 1
    (a, m), (b, n) = _cost(node.left), _cost(node.right)
    return a + b, m + n


def _link(node: Node, total: int) -> float:
    """The α from which on the branch `node` isn't worth its leaves."""
    cost, leaves = _cost(node)
    return (node.rows * node.impurity - cost) / total / (leaves - 1)


def _branches(node: Node) -> Iterator[Node]:
    if node.left is not None:
        yield node
        yield from _branches(node.left)
        yield from _branches(node.right)


def prune(root: Node, alpha: float) -> Node:
    def cut(node: Node) -> Node:
        if node.left is None:
            return node
        # From the bottom up: whether a node is worth it depends on what is left below.
        kept = replace(node, left=cut(node.left), right=cut(node.right))
        if _link(kept, root.rows) > alpha:
            return kept
        return Node(node.value, node.rows, node.impurity)

    return cut(root)


def pruning_path(root: Node) -> list[tuple[float, int]]:
    path = [(0.0, _cost(root)[1])]
    while root.left is not None:
        # The weakest link: the branch that gains least per leaf.
        alpha = min(_link(node, root.rows) for node in _branches(root))
        root = prune(root, alpha)
        path.append((alpha, _cost(root)[1]))
    return path


def draw(root: Node, names: Sequence[str], classes: Sequence[object] | None = None) -> str:
    def lines(node: Node, first: str, rest: str) -> Iterator[str]:
        if node.left is None:
            label = f"{node.value:.4g}" if classes is None else classes[int(np.argmax(node.value))]
            yield f"{first}{label} ({node.rows})"
        else:
            yield f"{first}{names[node.feature]} ≤ {node.threshold:.4g}"
            yield from lines(node.left, rest + "├── ", rest + "│   ")
            yield from lines(node.right, rest + "└── ", rest + "    ")

    return "\n".join(lines(root, "", ""))
