"""Explanations: the reference."""

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from .k09_decision_tree import Node

Value = Callable[[np.ndarray], float]
Predict = Callable[[np.ndarray], np.ndarray]


def _order_weights(d: int) -> np.ndarray:
    """For each size s of S, the share of the d! orders in which exactly S comes before a given player."""
    return np.array([1 / (d * math.comb(d - 1, s)) for s in range(d)])


def shapley_values(value: Value, d: int) -> np.ndarray:
    # Each coalition is asked once: a model behind it may be slow.
    worth = {mask: value(np.array(mask)) for mask in product((False, True), repeat=d)}
    weights, phi = _order_weights(d), np.zeros(d)
    for mask, without in worth.items():
        for j in range(d):
            if not mask[j]:
                phi[j] += weights[sum(mask)] * (worth[(*mask[:j], True, *mask[j + 1 :])] - without)
    return phi


def coalition_value(predict: Predict, x: np.ndarray, background: np.ndarray) -> Value:
    def value(mask: np.ndarray) -> float:
        return float(np.mean(predict(np.where(mask, x, background))))

    return value


def kernel_weight(d: int, size: int) -> float:
    if size in (0, d):
        return math.inf
    return (d - 1) / (math.comb(d, size) * size * (d - size))


def kernel_shap(value: Value, d: int, samples: int | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
    empty = value(np.zeros(d, dtype=bool))
    whole = value(np.ones(d, dtype=bool)) - empty
    if d == 1:
        return np.array([whole])
    sizes = np.arange(1, d)
    if samples is None:
        masks = np.array([mask for mask in product((False, True), repeat=d) if 0 < sum(mask) < d])
        weights = np.array([kernel_weight(d, int(size)) for size in masks.sum(axis=1)])
    else:
        # Drawn as often as the kernel weighs them, all coalitions count once.
        chances = np.array([kernel_weight(d, int(size)) * math.comb(d, int(size)) for size in sizes])
        drawn = rng.choice(sizes, samples, p=chances / chances.sum())
        masks = rng.permuted(np.arange(d) < drawn[:, None], axis=1)
        weights = np.ones(samples)
    targets = np.array([value(mask.copy()) for mask in masks]) - empty
    # The infinite weights of nobody and all are a constraint: the last φ is the whole less the others.
    z = masks.astype(np.float64)
    root = np.sqrt(weights)
    a, b = z[:, :-1] - z[:, -1:], targets - z[:, -1] * whole
    others = np.linalg.lstsq(a * root[:, None], b * root, rcond=None)[0]
    return np.append(others, whole - others.sum())


def tree_value(root: Node, x: np.ndarray, mask: np.ndarray) -> float:
    if root.left is None:
        return float(root.value)
    if mask[root.feature]:
        return tree_value(root.left if x[root.feature] <= root.threshold else root.right, x, mask)
    sides = (child.rows * tree_value(child, x, mask) for child in (root.left, root.right))
    return sum(sides) / root.rows


def tree_shap(root: Node, x: np.ndarray, d: int) -> np.ndarray:
    phi = np.zeros(d)

    def walk(node: Node, path: dict[int, tuple[float, float]]) -> None:
        if node.left is None:
            explain(float(node.value), path)
            return
        taken = node.left if x[node.feature] <= node.threshold else node.right
        unknown, known = path.get(node.feature, (1.0, 1.0))
        for child in (node.left, node.right):
            # A column that comes up again only narrows its own factors.
            factors = unknown * child.rows / node.rows, known * (child is taken)
            walk(child, {**path, node.feature: factors})

    def explain(leaf: float, path: dict[int, tuple[float, float]]) -> None:
        # To v(S) this leaf adds its value times a product over its path: known if j is in S, else unknown.
        weights = _order_weights(len(path))
        for j, (unknown, known) in path.items():
            # Coefficient s of ∏ (unknown + known t) sums the product over all S of s other columns.
            sums = np.ones(1)
            for i, factors in path.items():
                if i != j:
                    sums = np.convolve(sums, factors)
            phi[j] += leaf * (known - unknown) * (sums @ weights)

    walk(root, {})
    return phi


def partial_dependence(
    predict: Predict, x: np.ndarray, column: int, grid: np.ndarray, individual: bool = False
) -> np.ndarray:
    curves = np.zeros((len(x), len(grid)))
    # Not x's own dtype: an integer column would cut the grid's values off.
    table = np.array(x, dtype=np.float64)
    for k, point in enumerate(grid):
        table[:, column] = point
        curves[:, k] = predict(table.copy())
    return curves if individual else curves.mean(axis=0)


def group_importance(
    predict: Predict,
    x: np.ndarray,
    y: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], float],
    groups: Sequence[Sequence[int]],
    repeats: int,
    rng: np.random.Generator,
) -> np.ndarray:
    whole = score(y, predict(x))
    drops = np.zeros((len(groups), repeats))
    for k, r in np.ndindex(drops.shape):
        columns, shuffled = list(groups[k]), x.copy()
        # One order for the group: what hangs together within it stays together.
        shuffled[:, columns] = x[rng.permutation(len(x))][:, columns]
        drops[k, r] = whole - score(y, predict(shuffled))
    return drops
