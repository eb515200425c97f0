"""Random forests: the reference."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .k09_decision_tree import DecisionTreeClassifier, Node


def bootstrap(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows = rng.integers(n, size=n)
    return rows, np.setdiff1d(np.arange(n), rows)


def forest_variance(variance: float, correlation: float, trees: int) -> float:
    # More trees shrink the second part alone: what the trees share stays.
    return correlation * variance + (1 - correlation) * variance / trees


class RandomForestClassifier:
    def __init__(
        self,
        trees: int = 100,
        max_features: int | None = None,
        max_depth: int | None = None,
        min_leaf: int = 1,
        criterion: str = "gini",
    ) -> None:
        if trees < 1:
            raise ValueError(f"a forest needs at least 1 tree, got {trees}")
        self.trees, self.max_features = trees, max_features
        self.max_depth, self.min_leaf, self.criterion = max_depth, min_leaf, criterion

    def fit(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
        n, d = x.shape
        drawn = max(1, math.isqrt(d)) if self.max_features is None else self.max_features
        if drawn > d:
            raise ValueError(f"max_features is {drawn}, but x has only {d} columns")
        self.classes, codes = np.unique(y, return_inverse=True)
        self.members: list[DecisionTreeClassifier] = []
        self.rows: list[np.ndarray] = []
        votes, voters = np.zeros((n, len(self.classes))), np.zeros(n)
        for _ in range(self.trees):
            rows, out = bootstrap(n, rng)
            tree = DecisionTreeClassifier(self.criterion, self.max_depth, self.min_leaf, drawn)
            tree.fit(x[rows], y[rows], rng)
            self.members.append(tree)
            self.rows.append(rows)
            votes[out] += self._shares(tree, x[out])
            voters[out] += 1
        # A row that is in every bootstrap has nobody who could be asked: 0/0.
        known = voters > 0
        self.oob_proba = np.full_like(votes, np.nan)
        self.oob_proba[known] = votes[known] / voters[known, None]
        right = self.oob_proba[known].argmax(axis=1) == codes[known]
        self.oob_score = float(right.mean()) if known.any() else math.nan

    def _shares(self, tree: DecisionTreeClassifier, x: np.ndarray) -> np.ndarray:
        """The tree's shares of the forest's classes: a bootstrap may lack a rare one."""
        shares = np.zeros((len(x), len(self.classes)))
        shares[:, np.searchsorted(self.classes, tree.classes)] = tree.predict_proba(x)
        return shares

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return sum(self._shares(tree, x) for tree in self.members) / len(self.members)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[self.predict_proba(x).argmax(axis=1)]


def _splits(node: Node) -> Iterator[Node]:
    if node.left is not None:
        yield node
        yield from _splits(node.left)
        yield from _splits(node.right)


def _shares_of(gains: np.ndarray) -> np.ndarray:
    total = gains.sum()
    return gains / total if total > 0 else gains


def impurity_importance(roots: Sequence[Node], d: int) -> np.ndarray:
    importances = np.zeros(d)
    for root in roots:
        gains = np.zeros(d)
        for node in _splits(root):
            below = node.left.rows * node.left.impurity + node.right.rows * node.right.impurity
            gains[node.feature] += node.rows * node.impurity - below
        # By tree first: none counts for more because its targets vary more.
        importances += _shares_of(gains)
    return _shares_of(importances)


def permutation_importance(
    predict: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    repeats: int,
    rng: np.random.Generator,
) -> np.ndarray:
    whole = score(y, predict(x))
    drops = np.zeros((x.shape[1], repeats))
    for j, r in np.ndindex(drops.shape):
        shuffled = x.copy()
        shuffled[:, j] = rng.permutation(x[:, j])
        drops[j, r] = whole - score(y, predict(shuffled))
    return drops
