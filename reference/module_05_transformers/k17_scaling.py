"""Scaling laws and the cost of training: the reference."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares


def gpt2_parameters(
    vocab_size: int, context: int, d_model: int, layers: int, d_ff: int, tied: bool = True
) -> int:
    attention = 4 * (d_model * d_model + d_model)
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    block = attention + feed_forward + 2 * (2 * d_model)
    embeddings = vocab_size * d_model + context * d_model
    head = 0 if tied else vocab_size * d_model
    return embeddings + layers * block + 2 * d_model + head


def llama_parameters(
    vocab_size: int,
    d_model: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    d_ff: int,
    tied: bool = False,
) -> int:
    # q and o are as wide as all query heads, k and v as all key-value heads.
    attention = 2 * d_model * heads * head_dim + 2 * d_model * kv_heads * head_dim
    block = attention + 3 * d_model * d_ff + 2 * d_model
    matrices = 1 if tied else 2
    return matrices * vocab_size * d_model + layers * block + d_model


def training_flops(n: int, d: int) -> int:
    return 6 * n * d


def gpt2_forward_flops(
    batch: int, tokens: int, vocab_size: int, d_model: int, layers: int, d_ff: int
) -> int:
    weights = 4 * d_model * d_model + 2 * d_model * d_ff
    # Per token: its scores against every token, and the average of all values.
    scores = 2 * tokens * d_model
    return 2 * batch * tokens * (layers * (weights + scores) + vocab_size * d_model)


def llama_forward_flops(
    batch: int,
    tokens: int,
    vocab_size: int,
    d_model: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    d_ff: int,
) -> int:
    weights = d_model * (2 * head_dim * (heads + kv_heads) + 3 * d_ff)
    # Query heads share keys and values, but each has scores and averages of its own.
    attention = 2 * tokens * heads * head_dim
    return 2 * batch * tokens * (vocab_size * d_model + layers * (weights + attention))


def training_memory(parameters: int, precision: str = "fp32") -> dict[str, int]:
    each = {"fp32": (4, 4, 8), "mixed": (2, 2, 12)}
    if precision not in each:
        raise ValueError(f"precision must be 'fp32' or 'mixed', got {precision!r}")
    weights, gradients, optimizer = (size * parameters for size in each[precision])
    return {
        "weights": weights,
        "gradients": gradients,
        "optimizer": optimizer,
        "total": weights + gradients + optimizer,
    }


def activation_memory(
    batch: int, tokens: int, d_model: int, heads: int, recompute: str = "none"
) -> int:
    # Each holds n·b·d times the first, and heads·n²·b times the second.
    kept = {"none": (34, 5), "selective": (34, 0), "full": (2, 0)}
    if recompute not in kept:
        raise ValueError(f"recompute must be 'none', 'selective' or 'full', got {recompute!r}")
    linear, square = kept[recompute]
    return batch * tokens * (linear * d_model + square * heads * tokens)


def chinchilla_loss(
    n: float | NDArray,
    d: float | NDArray,
    e: float = 1.69,
    a: float = 406.4,
    b: float = 410.7,
    alpha: float = 0.34,
    beta: float = 0.28,
) -> float | NDArray:
    return e + a / n**alpha + b / d**beta


def optimal_split(
    flops: float, a: float = 406.4, b: float = 410.7, alpha: float = 0.34, beta: float = 0.28
) -> tuple[float, float]:
    product = flops / 6
    ratio = alpha * a / (beta * b)
    n = (ratio * product**beta) ** (1 / (alpha + beta))
    return n, product / n


def fit_chinchilla(
    n: NDArray, d: NDArray, loss: NDArray
) -> tuple[float, float, float, float, float]:
    if len(loss) < 5:
        raise ValueError(f"five constants need at least 5 runs, got {len(loss)}")

    # With the exponents fixed, the law is linear in E, A and B: solve those
    # exactly, and only the two exponents are left to search.
    def solve(exponents: NDArray) -> NDArray:
        alpha, beta = exponents
        design = np.stack([np.ones(len(n)), n**-alpha, d**-beta], axis=1)
        return np.linalg.lstsq(design, loss)[0]

    def residuals(exponents: NDArray) -> NDArray:
        return chinchilla_loss(n, d, *solve(exponents), *exponents) - loss

    best = least_squares(residuals, [0.4, 0.4]).x
    return *solve(best), *best
