"""Weight-only quantization: the reference."""

from statistics import NormalDist

import numpy as np


def quantize_groups(w: np.ndarray, group: int, bits: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups = _grouped(w, group)
    minima = groups.min(-1)
    scales = (groups.max(-1) - minima) / (2**bits - 1)
    codes = _round(groups, scales[..., None], minima[..., None], bits)
    return codes.reshape(w.shape), scales, minima


def dequantize_groups(codes: np.ndarray, scales: np.ndarray, minima: np.ndarray) -> np.ndarray:
    groups = codes.reshape(*scales.shape, -1)
    return (scales[..., None] * groups + minima[..., None]).reshape(codes.shape)


def pack_q4_1(w: np.ndarray) -> np.ndarray:
    codes, scales, minima = quantize_groups(w.astype(np.float32), 32)
    codes = _grouped(codes, 32)
    header = np.stack([scales, minima], -1).astype("<f2").view(np.uint8)
    nibbles = codes[..., :16] | codes[..., 16:] << 4
    return np.concatenate([header, nibbles], -1).reshape(*w.shape[:-1], -1)


def unpack_q4_1(packed: np.ndarray) -> np.ndarray:
    blocks = _grouped(packed, 20)
    header = blocks[..., :4].view("<f2").astype(np.float32)
    nibbles = blocks[..., 4:]
    codes = np.concatenate([nibbles & 15, nibbles >> 4], -1)
    codes = codes.reshape(*packed.shape[:-1], -1)
    return dequantize_groups(codes, header[..., 0], header[..., 1])


def nf4_codebook() -> np.ndarray:
    # One more value above 0 than below: with 0 itself that makes 16.
    def quantiles(count: int) -> np.ndarray:
        return np.array([NormalDist().inv_cdf(p) for p in np.linspace(0.9677083, 0.5, count + 1)[:-1]])

    positive = quantiles(8)[::-1]
    return np.concatenate([-quantiles(7), [0.0], positive]) / positive[-1]


def quantize_nf4(w: np.ndarray, block: int = 64) -> tuple[np.ndarray, np.ndarray]:
    blocks = _grouped(w, block)
    absmax = np.abs(blocks).max(-1)
    # A block of zeros is divided by 1, and stays 0.
    scaled = blocks / np.where(absmax == 0, 1, absmax)[..., None]
    distance = np.abs(scaled[..., None] - nf4_codebook())
    return distance.argmin(-1).astype(np.uint8).reshape(w.shape), absmax


def gptq(
    w: np.ndarray, hessian: np.ndarray, group: int, bits: int = 4, damp: float = 0.01
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    codes = np.empty(w.shape, np.uint8)
    scales = np.empty(_grouped(w, group).shape[:-1])
    minima = np.empty_like(scales)
    damped = hessian + damp * np.diag(hessian).mean() * np.eye(len(hessian))
    # Row i of the factor is what H⁻¹ without the columns before i would say: one factorization for all steps.
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    w = w.copy()
    for i in range(w.shape[1]):
        g = i // group
        if i % group == 0:
            _, s, m = quantize_groups(w[:, i : i + group], group, bits)
            scales[:, g], minima[:, g] = s[:, 0], m[:, 0]
        codes[:, i] = _round(w[:, i], scales[:, g], minima[:, g], bits)
        error = (w[:, i] - (scales[:, g] * codes[:, i] + minima[:, g])) / upper[i, i]
        w[:, i + 1 :] -= np.outer(error, upper[i, i + 1 :])
    return codes, scales, minima


def awq(w: np.ndarray, x: np.ndarray, group: int, bits: int = 4, grid: int = 20) -> tuple[float, np.ndarray]:
    size = np.maximum(np.abs(x).mean(0), 1e-4)
    tried = []
    for alpha in [k / grid for k in range(grid + 1)]:
        s = size**alpha
        w_hat = dequantize_groups(*quantize_groups(w * s, group, bits)) / s
        tried.append((np.square(x @ (w - w_hat).T).sum(), alpha, w_hat))
    _, alpha, w_hat = min(tried)  # no two have the same α, so arrays are never compared
    return alpha, w_hat


def _grouped(w: np.ndarray, group: int) -> np.ndarray:
    """(..., n) as (..., n / group, group)."""
    if w.shape[-1] % group:
        raise ValueError(f"the last axis must be a multiple of {group}, got {w.shape[-1]}")
    return w.reshape(*w.shape[:-1], -1, group)


def _round(w: np.ndarray, scale: np.ndarray, minimum: np.ndarray, bits: int) -> np.ndarray:
    # Where the scale is 0 so is w - minimum, and any factor will do. The cast drops the fraction.
    inverse = 1 / np.where(scale == 0, 1, scale)
    return ((w - minimum) * inverse + 0.5).clip(0, 2**bits - 1).astype(np.uint8)
