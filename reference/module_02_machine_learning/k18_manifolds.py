"""t-SNE, Isomap and trustworthiness: the reference."""

import numpy as np


def _squared_distances(x: np.ndarray) -> np.ndarray:
    points = np.asarray(x, dtype=np.float64)
    return ((points[:, None] - points) ** 2).sum(axis=2)


def neighbor_probabilities(d2: np.ndarray, precision: float) -> np.ndarray:
    # Less the smallest distance, the exponentials can't all underflow; the quotient stays the same.
    weights = np.exp(-precision * (d2 - np.min(d2)))
    return weights / weights.sum()


def _perplexity(p: np.ndarray) -> float:
    positive = p[p > 0]  # 0 log 0 is 0
    return float(np.exp(-(positive * np.log(positive)).sum()))


def search_precision(d2: np.ndarray, perplexity: float) -> float:
    gaps = d2 - np.min(d2)
    nearest = int((gaps == 0).sum())
    if not nearest < perplexity < len(d2):
        raise ValueError(f"perplexity {perplexity} must lie between {nearest} and {len(d2)}, neither included")
    # A larger precision gives a smaller perplexity.  The scale of the distances says where to begin.
    low, high = 0.0, 1 / gaps.mean()
    while _perplexity(neighbor_probabilities(gaps, high)) > perplexity:
        low, high = high, 2 * high
    # Every turn halves the interval: after 60, hardly a float64 is left in it.
    for _ in range(60):
        middle = (low + high) / 2
        if _perplexity(neighbor_probabilities(gaps, middle)) > perplexity:
            low = middle
        else:
            high = middle
    return high


def joint_probabilities(x: np.ndarray, perplexity: float) -> np.ndarray:
    n = len(x)
    distances = _squared_distances(x)
    conditional = np.zeros((n, n))
    for i in range(n):
        others = np.arange(n) != i
        d2 = distances[i, others]
        conditional[i, others] = neighbor_probabilities(d2, search_precision(d2, perplexity))
    # Both directions: even an outlier, which is nobody's neighbour, has 1/(2n) or more in its row.
    return (conditional + conditional.T) / (2 * n)


def _student(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights 1/(1 + d²) (n, n), 0 on the diagonal, and q, their shares of the sum."""
    weights = 1 / (1 + _squared_distances(y))
    np.fill_diagonal(weights, 0)
    return weights, weights / weights.sum()


def tsne_loss(p: np.ndarray, y: np.ndarray) -> float:
    _, q = _student(y)
    pairs = p > 0
    return float((p[pairs] * np.log(p[pairs] / q[pairs])).sum())


def tsne_gradient(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    weights, q = _student(y)
    pull = (p - q) * weights
    # ∑ⱼ pullᵢⱼ (yᵢ - yⱼ) without the (n, n, q) array of all differences.
    return 4 * (pull.sum(axis=1)[:, None] * y - pull @ y)


def tsne(
    p: np.ndarray,
    start: np.ndarray,
    rate: float,
    steps: int,
    momentum: float = 0.8,
    exaggeration: float = 4.0,
    exaggerated: int = 50,
) -> np.ndarray:
    y = np.array(start, dtype=np.float64)
    velocity = np.zeros_like(y)
    for step in range(steps):
        # Pulled together more than they should be, clusters can still pass through each other.
        factor = exaggeration if step < exaggerated else 1.0
        velocity = momentum * velocity - rate * tsne_gradient(factor * p, y)
        y = y + velocity
    return y


def neighbor_graph(x: np.ndarray, k: int) -> np.ndarray:
    n = len(x)
    if not 1 <= k < n:
        raise ValueError(f"k must be from 1 to n - 1, not {k} of n = {n} rows")
    distances = np.sqrt(_squared_distances(x))
    # A copy of a point is a neighbour like others; the point itself never is.
    ranked = np.where(np.eye(n, dtype=bool), np.inf, distances)
    nearest = np.argsort(ranked, axis=1, kind="stable")[:, :k]
    edge = np.zeros((n, n), dtype=bool)
    np.put_along_axis(edge, nearest, True, axis=1)
    graph = np.where(edge | edge.T, distances, np.inf)
    np.fill_diagonal(graph, 0)
    return graph


def geodesics(graph: np.ndarray) -> np.ndarray:
    lengths = np.array(graph, dtype=np.float64)
    # Floyd and Warshall: after turn k, all ways over the points 0 to k are known.
    for k in range(len(lengths)):
        lengths = np.minimum(lengths, lengths[:, k, None] + lengths[k])
    if np.isinf(lengths).any():
        raise ValueError("the graph isn't connected: some points have no way to others; take more neighbours")
    return lengths


def classical_scaling(distances: np.ndarray, dimensions: int) -> np.ndarray:
    squared = np.asarray(distances, dtype=np.float64) ** 2
    # Centred twice, -½ d² is the matrix of all dot products of centred points.
    rows = squared.mean(axis=1, keepdims=True)
    products = -(squared - rows - rows.T + squared.mean()) / 2
    values, vectors = np.linalg.eigh(products)
    # eigh sorts ascending.  Distances that aren't Euclidean have negative eigenvalues, without a root.
    largest = np.maximum(values[::-1][:dimensions], 0)
    columns = vectors[:, ::-1][:, :dimensions]
    # An eigenvector's sign is free, and LAPACK's choice may change with the machine: fix it.
    peaks = np.take_along_axis(columns, np.abs(columns).argmax(axis=0)[None], axis=0)
    return columns * np.where(peaks < 0, -1, 1) * np.sqrt(largest)


def isomap(x: np.ndarray, k: int, dimensions: int) -> np.ndarray:
    return classical_scaling(geodesics(neighbor_graph(x, k)), dimensions)


def trustworthiness(x: np.ndarray, y: np.ndarray, k: int) -> float:
    n = len(x)
    if not 1 <= k < n / 2:
        raise ValueError(f"k must be at least 1 and below n/2, not {k} of n = {n} rows")
    itself = np.eye(n, dtype=bool)
    near_y = np.argsort(np.where(itself, np.inf, _squared_distances(y)), axis=1, kind="stable")[:, :k]
    order = np.argsort(np.where(itself, np.inf, _squared_distances(x)), axis=1, kind="stable")
    # The inverse permutation of each row: at which place does j stand?  The nearest has rank 1.
    ranks = np.argsort(order, axis=1) + 1
    excess = np.maximum(np.take_along_axis(ranks, near_y, axis=1) - k, 0)
    return float(1 - 2 * excess.sum() / (n * k * (2 * n - 3 * k - 1)))
