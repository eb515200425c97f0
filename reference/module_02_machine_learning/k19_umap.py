"""UMAP: the reference."""

import numpy as np


def local_scale(distances: np.ndarray) -> tuple[float, float]:
    k = len(distances)
    if k < 3:
        raise ValueError(f"a scale needs at least 3 neighbours, not {k}")
    positive = distances[distances > 0]
    rho = float(positive.min()) if len(positive) else 0.0
    gaps = np.maximum(distances - rho, 0)
    target, mean = np.log2(k), float(np.mean(distances))
    floor = 1e-3 * mean
    if (gaps == 0).sum() >= target:
        return rho, floor  # even σ = 0 leaves a sum that is too large
    # The sum grows with σ, from the number of nearest points to k.
    low, high = 0.0, mean
    while np.exp(-gaps / high).sum() < target:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        if np.exp(-gaps / middle).sum() < target:
            low = middle
        else:
            high = middle
    return rho, max(high, floor)


def memberships(distances: np.ndarray, rho: float, sigma: float) -> np.ndarray:
    gaps = np.asarray(distances, dtype=np.float64) - rho
    weights = np.ones(len(gaps))
    # Only beyond ρ: there σ = 0, as among copies, never divides.
    weights[gaps > 0] = np.exp(-gaps[gaps > 0] / sigma)
    return weights


def fuzzy_graph(x: np.ndarray, k: int) -> np.ndarray:
    n = len(x)
    if not 3 <= k < n:
        raise ValueError(f"k must be from 3 to n - 1, not {k} of n = {n} rows")
    points = np.asarray(x, dtype=np.float64)
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))
    ranked = np.where(np.eye(n, dtype=bool), np.inf, distances)
    nearest = np.argsort(ranked, axis=1, kind="stable")[:, :k]
    directed = np.zeros((n, n))
    for i, row in enumerate(nearest):
        near = distances[i, row]
        directed[i, row] = memberships(near, *local_scale(near))
    # The probability that at least one of two independent edges exists.
    return directed + directed.T - directed * directed.T


def fit_curve(min_dist: float, spread: float = 1.0) -> tuple[float, float]:
    if not 0 <= min_dist <= spread:
        raise ValueError(f"min_dist must be from 0 to spread = {spread}, not {min_dist}")
    d = np.linspace(0, 3 * spread, 300)[1:]  # at 0 the curve is 1 for any a and b
    target = np.where(d < min_dist, 1.0, np.exp(-(d - min_dist) / spread))

    def curve(log_a: float, log_b: float) -> np.ndarray:
        return 1 / (1 + np.exp(log_a) * d ** (2 * np.exp(log_b)))

    # Gauss and Newton, damped (Levenberg and Marquardt).  In logarithms, a and b stay positive.
    place, damping = np.array([-2 * np.log(spread), 0.0]), 1e-3
    residual = curve(*place) - target
    for _ in range(200):
        w = curve(*place)
        slope = -w * (1 - w)  # ∂w / ∂ log(a d^2b)
        jacobian = np.stack([slope, slope * 2 * np.exp(place[1]) * np.log(d)], axis=1)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -jacobian.T @ residual)
        candidate = curve(*(place + step)) - target
        if candidate @ candidate <= residual @ residual:
            place, residual, damping = place + step, candidate, damping / 10
        else:
            damping *= 10
    return float(np.exp(place[0])), float(np.exp(place[1]))


def _squared(y: np.ndarray) -> np.ndarray:
    points = np.asarray(y, dtype=np.float64)
    return ((points[:, None] - points) ** 2).sum(axis=2)


def umap_loss(v: np.ndarray, y: np.ndarray, a: float, b: float) -> float:
    i, j = np.triu_indices(len(v), 1)
    v, s = v[i, j], _squared(y)[i, j]
    far = a * s**b
    edge, gap = v > 0, v < 1  # 0 ln 0 is 0: what has no weight must not meet ln 0
    with np.errstate(divide="ignore"):
        attraction = v[edge] * (np.log(v[edge]) + np.log1p(far[edge]))
        # ln(1 - w) = ln(far / (1 + far)), without 1 - w, which cancels where points are close
        repulsion = (1 - v[gap]) * (np.log1p(-v[gap]) - np.log(far[gap]) + np.log1p(far[gap]))
    return float(attraction.sum() + repulsion.sum())


def umap_gradient(v: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    s = _squared(y)
    apart = s > 0
    safe = np.where(apart, s, 1.0)
    force = (v * a * b * safe ** (b - 1) - (1 - v) * b / safe) / (1 + a * safe**b)
    # A point with itself, and points that coincide, have no direction.
    force = np.where(apart, 2 * force, 0.0)
    return force.sum(axis=1)[:, None] * y - force @ y


def layout(v: np.ndarray, start: np.ndarray, a: float, b: float, rate: float, steps: int) -> np.ndarray:
    y = np.array(start, dtype=np.float64)
    for step in range(steps):
        # Clipped, two points that nearly coincide don't throw each other off the page.
        y = y - rate * (1 - step / steps) * np.clip(umap_gradient(v, y, a, b), -4, 4)
    return y
