"""SVD and PCA: the reference."""

import math
from itertools import combinations

import numpy as np


def rotation(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    alpha, beta, gamma = float(x @ x), float(y @ y), float(x @ y)
    if gamma == 0:
        return 1.0, 0.0
    zeta = (beta - alpha) / (2 * gamma)
    # The smaller of the two roots of t² + 2ζt = 1: the smaller angle.
    # hypot, as ζ² is beyond all numbers where γ is tiny.
    t = (1 if zeta >= 0 else -1) / (abs(zeta) + math.hypot(1, zeta))
    c = 1 / math.hypot(1, t)
    return c, c * t


def svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    m, n = a.shape
    if m < n:
        # More columns than rows can't all be orthogonal: decompose the transpose.
        v, s, ut = svd(a.T)
        return ut.T, s, v.T
    u, v = np.array(a, dtype=np.float64), np.eye(n)
    for _ in range(20):
        for i, j in combinations(range(n), 2):
            c, s = rotation(u[:, i], u[:, j])
            turn = [[c, s], [-s, c]]
            u[:, [i, j]] = u[:, [i, j]] @ turn
            v[:, [i, j]] = v[:, [i, j]] @ turn
    lengths = np.linalg.norm(u, axis=0)
    order = np.argsort(-lengths)
    u, lengths, v = u[:, order], lengths[order], v[:, order]
    return u / np.where(lengths > 0, lengths, 1), lengths, v.T


def low_rank(a: np.ndarray, k: int) -> np.ndarray:
    u, s, vt = svd(a)
    return u[:, :k] * s[:k] @ vt[:k]


def pseudo_inverse(a: np.ndarray, rcond: float = 1e-12) -> np.ndarray:
    u, s, vt = svd(a)
    # What rounding leaves of a singular value of 0 would become the largest of all.
    keep = s > rcond * s.max()
    return vt[keep].T / s[keep] @ u[:, keep].T


def pca(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    u, s, vt = svd(x - x.mean(0))
    return u[:, :k] * s[:k], vt[:k], s[:k] ** 2 / (len(x) - 1)


def whiten(x: np.ndarray, eps: float = 0.0) -> np.ndarray:
    # PCA whitening ends with the scaled scores; ZCA turns them back, so that signs cancel.
    scores, components, variances = pca(x, min(x.shape))
    return scores / np.sqrt(variances + eps) @ components


def compress(image: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    h, w, colours = image.shape
    kept = np.stack([low_rank(image[..., c], k) for c in range(colours)], axis=-1)
    return kept.clip(0, 1), k * (h + w + 1) / (h * w)
