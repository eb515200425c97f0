"""Learning theory: the reference."""

import itertools
import math
from collections.abc import Callable

import numpy as np


def hoeffding_gap(n: int, hypotheses: int, delta: float) -> float:
    return math.sqrt(math.log(2 * hypotheses / delta) / (2 * n))


def vc_gap(n: int, dimension: int, delta: float) -> float:
    # Python's whole numbers have no limit, and math.log takes them.
    growth = sum(math.comb(n, i) for i in range(min(dimension, n) + 1))
    return math.sqrt(2 * math.log(growth) / n) + math.sqrt(math.log(1 / delta) / (2 * n))


def samples_needed(gap_of: Callable[[int], float], gap: float) -> int:
    high = 1
    while gap_of(high) > gap:
        high *= 2
    low = high // 2  # too few, or 0
    while high - low > 1:
        middle = (low + high) // 2
        if gap_of(middle) > gap:
            low = middle
        else:
            high = middle
    return high


def box_dichotomies(points: np.ndarray) -> set[tuple[bool, ...]]:
    # A box can shrink until points are on all its sides, so only their coordinates matter.
    sides = [list(itertools.combinations_with_replacement(np.unique(column), 2)) for column in points.T]
    found = {(False,) * len(points)}
    for box in itertools.product(*sides):
        low, high = np.array(box).T
        found.add(tuple(((points >= low) & (points <= high)).all(1).tolist()))
    return found


def halfplane_dichotomies(points: np.ndarray) -> set[tuple[bool, ...]]:
    # Seen along a direction, the points have an order. It changes only where two of them are level.
    level = {0.0}
    for p, q in itertools.combinations(points, 2):
        level.add((math.atan2(*(q - p)[::-1]) + math.pi / 2) % math.pi)
    angles = sorted(level)
    found = set()
    for angle, following in itertools.pairwise([*angles, angles[0] + math.pi]):
        if following - angle < 1e-9:
            continue  # the same one twice, up to rounding: three points on a line
        middle = (angle + following) / 2
        order = np.argsort(points @ (math.cos(middle), math.sin(middle)))
        for cut in range(len(points) + 1):
            side = np.zeros(len(points), dtype=bool)
            side[order[:cut]] = True
            found |= {tuple(side.tolist()), tuple((~side).tolist())}
    return found


def vc_dimension(dichotomies: Callable[[np.ndarray], set[tuple[bool, ...]]], points: np.ndarray) -> int:
    size = 0
    # If a set is shattered, so are its subsets: the first size without one ends the search.
    while size < len(points) and any(
        len(dichotomies(points[list(chosen)])) == 2 ** (size + 1)
        for chosen in itertools.combinations(range(len(points)), size + 1)
    ):
        size += 1
    return size


def empirical_rademacher(outputs: np.ndarray, signs: np.ndarray) -> float:
    return float((outputs @ signs.T / signs.shape[1]).max(0).mean())


def minimum_norm(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    kept = s > 1e-10 * s[0]
    # Along directions that x doesn't have, w stays 0: that is the least norm.
    return vt[kept].T @ (u[:, kept].T @ y / s[kept])


def descent_risk(n: int, p: int, beta: np.ndarray, noise: float) -> float:
    squares = np.square(np.asarray(beta, dtype=float))
    used, unseen = float(squares[:p].sum()), float(squares[p:].sum()) + noise**2
    if p <= n - 2:
        return unseen * (1 + p / (n - p - 1))
    if p >= n + 2:
        return used * (1 - n / p) + unseen * (1 + n / (p - n - 1))
    return math.inf


def ntk(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    dots = x @ z.T
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(z, axis=1)
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots, dtype=float), where=lengths > 0)
    return dots * (math.pi - np.arccos(np.clip(cosines, -1, 1))) / (2 * math.pi)


def train_wide_net(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, a: np.ndarray, lr: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    scale = 1 / math.sqrt(len(a))
    for _ in range(steps):
        u = x @ w.T
        away = scale * np.maximum(u, 0) @ a - y
        # ∂f_i/∂w_j is a_j x_i / √m where unit j is on.
        w = w - lr * scale * a[:, None] * ((u > 0) * away[:, None]).T @ x
    return scale * np.maximum(x @ w.T, 0) @ a, np.array(w)


def kernel_training(kernel: np.ndarray, y: np.ndarray, start: np.ndarray, lr: float, steps: int) -> np.ndarray:
    f = np.array(start, dtype=float)
    for _ in range(steps):
        f = f - lr * kernel @ (f - y)
    return f
