"""DBSCAN and agglomerative clustering: the reference."""

import numpy as np


def _distances(x: np.ndarray) -> np.ndarray:
    # float64 before the difference: unsigned integers would wrap around.
    points = np.asarray(x, dtype=np.float64)
    return np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))


def neighborhoods(x: np.ndarray, eps: float) -> np.ndarray:
    return _distances(x) <= eps


def dbscan(x: np.ndarray, eps: float, min_points: int) -> np.ndarray:
    if eps < 0:
        raise ValueError(f"eps must be at least 0, not {eps}")
    if min_points < 1:
        raise ValueError(f"min_points must be at least 1, not {min_points}")
    near = neighborhoods(x, eps)
    core = near.sum(axis=1) >= min_points
    labels = np.full(len(x), -1)
    cluster = 0
    for first in np.flatnonzero(core):
        if labels[first] != -1:
            continue
        # A stack instead of recursion: a chain may be longer than Python's stack is deep.
        labels[first], stack = cluster, [first]
        while stack:
            point = stack.pop()
            reached = np.flatnonzero(near[point] & (labels == -1))
            labels[reached] = cluster
            # Border points get the label, but don't go on the stack: only core points spread.
            stack.extend(reached[core[reached]])
        cluster += 1
    return labels


def merged_distances(
    to_a: np.ndarray,
    to_b: np.ndarray,
    between: float,
    size_a: int,
    size_b: int,
    sizes: np.ndarray,
    method: str,
) -> np.ndarray:
    if method == "single":
        return np.minimum(to_a, to_b)
    if method == "complete":
        return np.maximum(to_a, to_b)
    if method == "average":
        return (size_a * to_a + size_b * to_b) / (size_a + size_b)
    if method == "ward":
        gained = (size_a + sizes) * to_a**2 + (size_b + sizes) * to_b**2 - sizes * between**2
        # Among copies, rounding can leave a little less than 0.
        return np.sqrt(np.maximum(gained, 0) / (size_a + size_b + sizes))
    raise ValueError(f"unknown method {method!r}; expected single, complete, average or ward")


def linkage(x: np.ndarray, method: str) -> np.ndarray:
    if method not in ("single", "complete", "average", "ward"):
        raise ValueError(f"method must be single, complete, average or ward, not {method!r}")
    n = len(x)
    table = _distances(x)
    # The diagonal, and what has been merged away, is never the smallest.
    np.fill_diagonal(table, np.inf)
    # The slots of the table hold clusters: a union takes the slot of its first half.
    names, sizes, alive = np.arange(n), np.ones(n, dtype=np.int64), np.ones(n, dtype=bool)
    merges = np.empty((n - 1, 4))
    for i in range(n - 1):
        a, b = np.unravel_index(table.argmin(), table.shape)
        height = table[a, b]
        merges[i] = (*sorted((names[a], names[b])), height, sizes[a] + sizes[b])
        alive[b] = False
        others = np.flatnonzero(alive & (np.arange(n) != a))
        new = merged_distances(table[others, a], table[others, b], height, sizes[a], sizes[b], sizes[others], method)
        table[others, a] = table[a, others] = new
        table[b, :] = table[:, b] = np.inf
        names[a], sizes[a] = n + i, sizes[a] + sizes[b]
    return merges


def _labels(merges: np.ndarray, count: int) -> np.ndarray:
    """The labels after the first `count` merges."""
    n = len(merges) + 1
    top = np.arange(2 * n - 1)
    # From the last merge to the first: a cluster's parent has found its top before the cluster asks for it.
    for i in reversed(range(count)):
        children = merges[i, :2].astype(np.int64)
        top[children] = top[n + i]
    _, first, labels = np.unique(top[:n], return_index=True, return_inverse=True)
    # np.unique numbers by the tops; the order of first rows is asked for.
    rank = np.argsort(np.argsort(first))
    return rank[labels]


def cut_at_height(merges: np.ndarray, height: float) -> np.ndarray:
    return _labels(merges, int((merges[:, 2] <= height).sum()))


def cut_into(merges: np.ndarray, k: int) -> np.ndarray:
    n = len(merges) + 1
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to n = {n}, not {k}")
    return _labels(merges, n - k)


def _pairs(counts: np.ndarray) -> int:
    # Python's integers don't overflow where their products pass 2⁶³.
    return int((counts * (counts - 1) // 2).sum())


def adjusted_rand_index(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) != len(second):
        raise ValueError(f"the labellings have {len(first)} and {len(second)} points")
    _, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    # Only the cells that occur: with many clusters the whole table would be mostly zeros.
    _, cells = np.unique(row * len(columns) + column, return_counts=True)
    together, a, b = _pairs(cells), _pairs(np.bincount(row)), _pairs(np.bincount(column))
    n = len(row)
    every = n * (n - 1) // 2
    # Multiplied by C(n), so that all is exact until the one division.
    above, below = together * every - a * b, (a + b) * every - 2 * a * b
    return 1.0 if below == 0 else 2 * above / below
