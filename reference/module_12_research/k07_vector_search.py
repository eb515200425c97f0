"""Vector search: the reference."""

from collections.abc import Sequence

import numpy as np


def flat_search(base: np.ndarray, queries: np.ndarray, k: int, metric: str = "l2") -> tuple[np.ndarray, np.ndarray]:
    if not 1 <= k <= len(base):
        raise ValueError(f"k must be from 1 to the number of rows, got k {k} and {len(base)} rows")
    if metric == "l2":
        scores = _squared_distances(queries, base)
    elif metric == "ip":
        scores = -(queries.astype(np.float64) @ base.astype(np.float64).T)
    else:
        raise ValueError(f"the metric must be l2 or ip, got {metric!r}")
    # Stable, so that of equal ones the smaller id stays in front.
    ids = np.argsort(scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, ids, axis=1)
    return (best if metric == "l2" else -best), ids


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return sum(len(np.intersect1d(f, t)) for f, t in zip(found, truth, strict=True)) / truth.size


def kmeans(x: np.ndarray, k: int, rng: np.random.Generator, steps: int = 20) -> np.ndarray:
    if not 1 <= k <= len(x):
        raise ValueError(f"k must be from 1 to the number of rows, got k {k} and {len(x)} rows")
    centroids = x[rng.choice(len(x), k, replace=False)].astype(np.float64)
    for _ in range(steps):
        cells = _squared_distances(x, centroids).argmin(axis=1)
        for cell in np.unique(cells):  # an empty one stays where it is
            centroids[cell] = x[cells == cell].mean(axis=0, dtype=np.float64)
    return centroids


class IVF:
    def __init__(self, centroids: np.ndarray) -> None:
        self.centroids = centroids.astype(np.float64)
        self.lists = [np.empty(0, dtype=np.int64) for _ in centroids]
        self._kept = [self._keep(np.empty((0, centroids.shape[1])), cell) for cell in range(len(centroids))]

    def add(self, x: np.ndarray) -> None:
        known = sum(len(ids) for ids in self.lists)
        cells = _squared_distances(x, self.centroids).argmin(axis=1)
        for cell in np.unique(cells):
            (rows,) = np.nonzero(cells == cell)
            self.lists[cell] = np.append(self.lists[cell], known + rows)
            self._kept[cell] = np.concatenate([self._kept[cell], self._keep(x[rows].astype(np.float64), cell)])

    def search(self, queries: np.ndarray, k: int, probes: int = 1) -> tuple[np.ndarray, np.ndarray, int]:
        cells = len(self.lists)
        if not 1 <= probes <= cells:
            raise ValueError(f"probes must be from 1 to the number of cells, got {probes} probes and {cells} cells")
        rows, computed = [], len(queries) * cells
        _, nearest = flat_search(self.centroids, queries, probes)
        for query, probed in zip(queries.astype(np.float64), nearest, strict=True):
            ids = np.concatenate([self.lists[cell] for cell in probed])
            rows.append(_best(np.concatenate([self._measure(query, cell) for cell in probed]), ids, k))
            computed += len(ids)
        return np.stack([d for d, _ in rows]), np.stack([ids for _, ids in rows]), computed

    def _keep(self, x: np.ndarray, cell: int) -> np.ndarray:
        """What is stored of rows in a cell."""
        return x

    def _measure(self, query: np.ndarray, cell: int) -> np.ndarray:
        """The distances from a query to all that is in a cell."""
        return _squared_distances(query[None], self._kept[cell])[0]


def train_codebooks(x: np.ndarray, parts: int, codes: int, rng: np.random.Generator, steps: int = 20) -> np.ndarray:
    if x.shape[1] % parts:
        raise ValueError(f"{x.shape[1]} columns can't be cut into {parts} parts of the same width")
    return np.stack([kmeans(part, codes, rng, steps) for part in np.split(x, parts, axis=1)])


class ProductQuantizer:
    def __init__(self, codebooks: np.ndarray) -> None:
        if codebooks.shape[1] > 256:
            raise ValueError(f"a byte holds 256 codes, got {codebooks.shape[1]}")
        self.codebooks = codebooks.astype(np.float64)

    def encode(self, x: np.ndarray) -> np.ndarray:
        return self.tables(x).argmin(axis=2).astype(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        parts = np.arange(len(self.codebooks))
        return self.codebooks[parts, codes].reshape(len(codes), self.codebooks[:, 0].size)

    def tables(self, queries: np.ndarray) -> np.ndarray:
        parts, _, width = self.codebooks.shape
        if queries.shape[1] != parts * width:
            raise ValueError(f"expected {parts * width} columns, got {queries.shape[1]}")
        cut = np.split(queries, parts, axis=1)
        return np.stack([_squared_distances(q, book) for q, book in zip(cut, self.codebooks, strict=True)], axis=1)

    def search(self, queries: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not 1 <= k <= len(codes):
            raise ValueError(f"k must be from 1 to the number of codes, got k {k} and {len(codes)} codes")
        ids = np.arange(len(codes))
        rows = [_best(_looked_up(table, codes), ids, k) for table in self.tables(queries)]
        return np.stack([d for d, _ in rows]), np.stack([ids for _, ids in rows])


class IVFPQ(IVF):
    def __init__(self, centroids: np.ndarray, quantizer: ProductQuantizer) -> None:
        self.quantizer = quantizer
        super().__init__(centroids)

    def _keep(self, x: np.ndarray, cell: int) -> np.ndarray:
        # Residuals are small and alike in all cells: one set of codebooks fits them better than the rows themselves.
        return self.quantizer.encode(x - self.centroids[cell])

    def _measure(self, query: np.ndarray, cell: int) -> np.ndarray:
        return _looked_up(self.quantizer.tables((query - self.centroids[cell])[None])[0], self._kept[cell])


def rerank(base: np.ndarray, queries: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for query, row in zip(queries, ids, strict=True):
        row = row[row >= 0]
        rows.append(_best(_squared_distances(query[None], base[row])[0], row, k))
    return np.stack([d for d, _ in rows]), np.stack([ids for _, ids in rows])


def recall_curve(index: IVF | IVFPQ, queries: np.ndarray, truth: np.ndarray, probes: Sequence[int]) -> np.ndarray:
    points = []
    for p in probes:
        _, ids, computed = index.search(queries, truth.shape[1], p)
        points.append((computed / len(queries), recall(ids, truth)))
    return np.array(points)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) for a (n, d) and b (m, d).  From differences: |a|² - 2ab + |b|² loses digits, and ties with them."""
    return ((a[:, None].astype(np.float64) - b) ** 2).sum(axis=2)


def _best(distances: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest, filled up with inf and -1."""
    order = np.lexsort((ids, distances))[:k]
    missing = k - len(order)
    return np.append(distances[order], [np.inf] * missing), np.append(ids[order], np.full(missing, -1, dtype=np.int64))


def _looked_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """A sum of one entry for each part, (n,), of table (parts, codes) and codes (n, parts)."""
    return table[np.arange(len(table)), codes].sum(axis=1)
