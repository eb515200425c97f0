"""SVD and PCA: the reference."""

import math

import numpy as np


def svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    m, n = a.shape
    if m < n:
        # More columns than rows can't all be orthogonal: decompose the transpose.
        v, s, ut = svd(a.T)
        return ut.T, s, v.T
    u, v = np.array(a, dtype=np.float64), np.eye(n)
    # A column that is only rounding noise has no direction to be made orthogonal.
    noise = 1e-30 * (u**2).sum()
    rotated = True
    while rotated:
        rotated = False
        for i in range(n):
            for j in range(i + 1, n):
                x, y = u[:, i], u[:, j]
                alpha, beta, gamma = x @ x, y @ y, x @ y
                if abs(gamma) <= max(1e-13 * math.sqrt(alpha * beta), noise):
                    continue
                rotated = True
                zeta = (beta - alpha) / (2 * gamma)
                # The smaller of the two roots of t² + 2ζt = 1: the smaller angle.
                t = math.copysign(1, zeta) / (abs(zeta) + math.hypot(1, zeta))
                c = 1 / math.hypot(1, t)
                rotation = np.array([[c, c * t], [-c * t, c]])
                u[:, [i, j]] = u[:, [i, j]] @ rotation
                v[:, [i, j]] = v[:, [i, j]] @ rotation
    s = np.linalg.norm(u, axis=0)
    order = np.argsort(-s)
    u, s, v = u[:, order], s[order], v[:, order]
    return u / np.where(s > 0, s, 1), s, v.T


def low_rank(a: np.ndarray, k: int) -> np.ndarray:
    u, s, vt = svd(a)
    return u[:, :k] * s[:k] @ vt[:k]


def pseudo_inverse(a: np.ndarray, rcond: float = 1e-12) -> np.ndarray:
    u, s, vt = svd(a)
    keep = s > rcond * s[0]
    return vt[keep].T / s[keep] @ u[:, keep].T


def pca(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    u, s, vt = svd(x - x.mean(0))
    return u[:, :k] * s[:k], vt[:k], s[:k] ** 2 / (len(x) - 1)


def whiten(x: np.ndarray, k: int, eps: float = 0.0) -> np.ndarray:
    scores, _, variances = pca(x, k)
    return scores / np.sqrt(variances + eps)


def compress(image: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    h, w, colours = image.shape
    kept = np.stack([low_rank(image[..., c], k) for c in range(colours)], axis=-1)
    return kept.clip(0, 1), k * (h + w + 1) / (h * w)
