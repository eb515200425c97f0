"""K-means: the reference."""

import numpy as np


def squared_distances(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    # float64 first: uint8 pixels would wrap around below 0.
    points, middles = np.asarray(x, dtype=np.float64), np.asarray(centers, dtype=np.float64)
    # Differences, not ‖x‖² - 2 x·c + ‖c‖²: far from 0 that would cancel all its digits.
    return np.stack([((points - c) ** 2).sum(axis=1) for c in middles], axis=1)


def kmeans_plus_plus(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    distinct = len(np.unique(x, axis=0))
    if distinct < k:
        raise ValueError(f"there are {distinct} different rows, too few for k = {k} centres")
    rows = [rng.integers(len(x))]
    nearest = squared_distances(x, x[rows])[:, 0]
    for _ in range(1, k):
        rows.append(rng.choice(len(x), p=nearest / nearest.sum()))
        # Only the new centre can have come nearer.
        nearest = np.minimum(nearest, squared_distances(x, x[rows[-1:]])[:, 0])
    return np.asarray(x[rows], dtype=np.float64)


def assign(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return squared_distances(x, centers).argmin(axis=1)


def update_centers(x: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> np.ndarray:
    moved = np.array(centers, dtype=np.float64)
    for j in range(len(centers)):
        members = x[labels == j]
        # The mean of nothing is NaN, and a centre of NaN would never win a point again.
        if len(members) > 0:
            moved[j] = members.mean(axis=0, dtype=np.float64)
    return moved


def lloyd(x: np.ndarray, centers: np.ndarray, max_steps: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    middles = np.array(centers, dtype=np.float64)
    distances = squared_distances(x, middles)
    labels = distances.argmin(axis=1)
    history = [distances.min(axis=1).sum()]
    for _ in range(max_steps):
        before = labels
        middles = update_centers(x, before, middles)
        # One table of distances serves the labels and the inertia.
        distances = squared_distances(x, middles)
        labels = distances.argmin(axis=1)
        history.append(distances.min(axis=1).sum())
        if np.array_equal(labels, before):
            break
    return middles, labels, np.array(history)


def kmeans(x: np.ndarray, k: int, rng: np.random.Generator, restarts: int = 10) -> tuple[np.ndarray, np.ndarray, float]:
    runs = [lloyd(x, kmeans_plus_plus(x, k, rng)) for _ in range(restarts)]
    middles, labels, history = min(runs, key=lambda run: run[2][-1])
    return middles, labels, float(history[-1])


def mini_batch_step(centers: np.ndarray, counts: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = assign(batch, centers)
    moved, seen = np.array(centers, dtype=np.float64), np.array(counts)
    for j in np.unique(labels):
        members = np.asarray(batch[labels == j], dtype=np.float64)
        seen[j] += len(members)
        # The steps get shorter as the count grows: the centre is the mean of all its points so far.
        moved[j] += (members - moved[j]).sum(axis=0) / seen[j]
    return moved, seen


def mini_batch_kmeans(
    x: np.ndarray, centers: np.ndarray, batch: int, steps: int, rng: np.random.Generator
) -> np.ndarray:
    middles, counts = np.array(centers, dtype=np.float64), np.zeros(len(centers), dtype=np.int64)
    for _ in range(steps):
        rows = rng.choice(len(x), size=min(batch, len(x)), replace=False)
        middles, counts = mini_batch_step(middles, counts, x[rows])
    return middles


def silhouette(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    names, own = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"a silhouette needs at least 2 clusters, not {len(names)}")
    distances = np.sqrt(squared_distances(x, x))
    member = own[:, None] == np.arange(len(names))
    # Sums of distances from each point to each cluster, (n, clusters), in one product.
    sums, sizes, rows = distances @ member, member.sum(axis=0), np.arange(len(own))
    alone = sizes[own] == 1
    # The point itself adds a distance of 0 to the sum, and must not be counted.
    a = sums[rows, own] / np.where(alone, 1, sizes[own] - 1)
    means = sums / sizes
    means[rows, own] = np.inf
    b = means.min(axis=1)
    larger = np.maximum(a, b)
    return np.where(alone | (larger == 0), 0.0, (b - a) / np.where(larger == 0, 1.0, larger))


def elbow(ks: np.ndarray, inertias: np.ndarray) -> int:
    if len(ks) < 3:
        raise ValueError(f"an elbow needs at least 3 values of k, not {len(ks)}")
    k, j = np.asarray(ks, dtype=np.float64), np.asarray(inertias, dtype=np.float64)
    line = j[0] + (j[-1] - j[0]) * ((k - k[0]) / (k[-1] - k[0]))
    # The ends lie on the line: if nothing lies below it, the first of them is the deepest.
    return int(ks[np.argmax(line - j)])
