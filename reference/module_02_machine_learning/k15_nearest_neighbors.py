"""Nearest neighbours: the reference."""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = np.zeros((len(a), len(b)))
    # Feature by feature: never more than (n, m) numbers at a time, and no cancellation, as in
    # ‖a‖² + ‖b‖² - 2 a·b.
    for j in range(a.shape[1]):
        total += (a[:, j, None].astype(float) - b[:, j]) ** 2
    return total


def nearest(x: np.ndarray, new: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if not 1 <= k <= len(x):
        raise ValueError(f"k must be from 1 to the number of rows, {len(x)}; got {k}")
    squares = squared_distances(new, x)
    # Stable: of equal distances the smaller row number stays first.
    rows = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squares, rows, axis=1)), rows


def neighbor_weights(distances: np.ndarray, kind: str = "uniform") -> np.ndarray:
    if kind == "uniform":
        weights = np.ones(distances.shape)
    elif kind == "distance":
        hit = distances == 0
        # Only ratios count, and 1/1e-310 would overflow.
        least = distances.min(axis=1, keepdims=True)
        with np.errstate(over="ignore"):  # so much farther than the nearest that nothing is left of its weight
            scaled = distances / np.where(least > 0, least, 1)
        # 1/0 would win by infinity: where there are hits, they share the weight alone.
        weights = np.where(hit.any(axis=1, keepdims=True), hit, 1 / np.where(hit, 1, scaled))
    else:
        raise ValueError(f"kind must be 'uniform' or 'distance', got {kind!r}")
    return weights / weights.sum(axis=1, keepdims=True)


def knn_classify(x: np.ndarray, y: np.ndarray, new: np.ndarray, k: int, kind: str = "uniform") -> np.ndarray:
    distances, rows = nearest(x, new, k)
    classes, codes = np.unique(y, return_inverse=True)
    weights = neighbor_weights(distances, kind)
    # (m, k, 1) against (classes,): each neighbour gives its weight to its own class.
    votes = (weights[:, :, None] * (codes[rows][:, :, None] == np.arange(len(classes)))).sum(axis=1)
    return classes[votes.argmax(axis=1)]


def knn_regress(x: np.ndarray, y: np.ndarray, new: np.ndarray, k: int, kind: str = "uniform") -> np.ndarray:
    distances, rows = nearest(x, new, k)
    return (neighbor_weights(distances, kind) * y[rows]).sum(axis=1)


def euclidean(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.sqrt(((rows - point) ** 2).sum(axis=1))


class KDTree:
    def __init__(self, x: np.ndarray, leaf_size: int = 8, distance: Distance = euclidean) -> None:
        self._x = np.array(x, dtype=float)
        self._leaf_size, self._distance = leaf_size, distance
        self._root = self._build(np.arange(len(x)))

    def _build(self, rows: np.ndarray) -> tuple | np.ndarray:
        if len(rows) <= self._leaf_size:
            return rows
        # Halved by number, not by value: equal rows can't make it endless, and log₂ n levels are enough.
        axis = int(np.ptp(self._x[rows], axis=0).argmax())
        rows = rows[np.argsort(self._x[rows, axis])]
        half = len(rows) // 2
        value = float(self._x[rows[half], axis])
        return axis, value, self._build(rows[:half]), self._build(rows[half:])

    def query(self, point: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not 1 <= k <= len(self._x):
            raise ValueError(f"k must be from 1 to the number of rows, {len(self._x)}; got {k}")
        best: list[tuple[float, int]] = []  # a heap with the worst of the best on top, so distances are negated

        def visit(node: tuple | np.ndarray) -> None:
            if isinstance(node, np.ndarray):
                for d, row in zip(self._distance(self._x[node], point).tolist(), node.tolist(), strict=True):
                    if len(best) < k:
                        heapq.heappush(best, (-d, row))
                    elif d < -best[0][0]:
                        heapq.heapreplace(best, (-d, row))
                return
            axis, value, low, high = node
            gap = point[axis] - value
            near, far = (low, high) if gap < 0 else (high, low)
            visit(near)
            # Whatever is beyond the plane is at least |gap| away.
            if len(best) < k or abs(gap) < -best[0][0]:
                visit(far)

        visit(self._root)
        found = sorted((-d, row) for d, row in best)
        return np.array([d for d, _ in found]), np.array([row for _, row in found])


def hyperplane_bits(x: np.ndarray, planes: np.ndarray) -> np.ndarray:
    return x @ planes.T >= 0


def collision_probability(a: np.ndarray, b: np.ndarray) -> float:
    # Of two unit vectors, 2 atan2(‖u - v‖, ‖u + v‖) is the angle; arccos(u·v) is wrong by 1e-8 near
    # 0 and undefined where rounding takes u·v above 1.
    u, v = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = 2 * math.atan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
    return 1 - angle / math.pi


class HyperplaneLSH:
    def __init__(self, bits: int, tables: int, rng: np.random.Generator) -> None:
        self.bits, self.tables, self._rng = bits, tables, rng

    def fit(self, x: np.ndarray) -> None:
        # Gaussian numbers: a direction that is as likely as any other.
        self.planes = self._rng.standard_normal((self.tables, self.bits, x.shape[1]))
        self._buckets: list[dict[bytes, list[int]]] = []
        for planes in self.planes:
            buckets = defaultdict(list)
            for row, bits in enumerate(hyperplane_bits(x, planes)):
                buckets[bits.tobytes()].append(row)
            self._buckets.append(buckets)

    def candidates(self, point: np.ndarray) -> np.ndarray:
        found: set[int] = set()
        for planes, buckets in zip(self.planes, self._buckets, strict=True):
            found.update(buckets.get(hyperplane_bits(point[None], planes)[0].tobytes(), ()))
        return np.array(sorted(found), dtype=int)


def relative_contrast(x: np.ndarray, new: np.ndarray) -> np.ndarray:
    distances = np.sqrt(squared_distances(new, x))
    low, high = distances.min(axis=1), distances.max(axis=1)
    return np.where(low > 0, (high - low) / np.where(low > 0, low, 1), np.inf)
