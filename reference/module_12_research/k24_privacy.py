"""Privacy: the reference."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import gammaln, logsumexp


def k_anonymity(rows: np.ndarray) -> int:
    return int(np.unique(rows, axis=0, return_counts=True)[1].min())


def l_diversity(rows: np.ndarray, sensitive: np.ndarray) -> int:
    values: dict[tuple, set] = {}
    for row, value in zip(rows.tolist(), sensitive.tolist(), strict=True):
        values.setdefault(tuple(row), set()).add(value)
    return min(len(found) for found in values.values())


def respond(answers: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    answers = np.asarray(answers).astype(np.int64)
    keep = rng.random(len(answers)) < _keep(epsilon)
    return np.where(keep, answers, 1 - answers)


def estimate_share(responses: np.ndarray, epsilon: float) -> tuple[float, float]:
    if not epsilon > 0:
        raise ValueError(f"epsilon must be above 0, got {epsilon}: such responses say nothing")
    p, r = _keep(epsilon), float(np.mean(responses))
    # E[r] = share · p + (1 - share) · (1 - p), solved for the share.  2p - 1 is how much of the signal is left.
    return (r - (1 - p)) / (2 * p - 1), math.sqrt(r * (1 - r) / len(responses)) / (2 * p - 1)


def clip_each(gradients: np.ndarray, bound: float) -> np.ndarray:
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    return gradients * (bound / np.maximum(lengths, bound))  # never above 1, never divides by 0


def private_gradient(
    gradients: np.ndarray, bound: float, noise: float, lot: float, rng: np.random.Generator
) -> np.ndarray:
    # Clip first: one example moves the sum by at most `bound`, and the noise is measured by that.
    total = clip_each(gradients, bound).sum(0)
    return (total + rng.normal(0, noise * bound, total.shape)) / lot


def train_privately(
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray],
    start: np.ndarray,
    n: int,
    rate: float,
    steps: int,
    lr: float,
    bound: float,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    w = np.array(start, dtype=float)
    for _ in range(steps):
        # The accountant counts on this: each example by its own coin, not a batch of fixed size.
        chosen = np.flatnonzero(rng.random(n) < rate)
        w = w - lr * private_gradient(gradient(w, chosen), bound, noise, rate * n, rng)
    return w


def subsampled_rdp(rate: float, noise: float, order: int) -> float:
    if order < 2:
        raise ValueError(f"the order must be at least 2, got {order}")
    if rate == 1:  # only k = α is left, and ln(1 - q) doesn't exist
        return order / (2 * noise**2)
    k = np.arange(order + 1)
    # In logarithms: e^(k²/2σ²) is far beyond float64 for large orders.
    log_terms = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    log_terms += (order - k) * math.log1p(-rate) + k * math.log(rate) + (k**2 - k) / (2 * noise**2)
    return float(logsumexp(log_terms)) / (order - 1)


def epsilon_spent(
    rate: float, noise: float, steps: int, delta: float, orders: Sequence[int] = range(2, 257)
) -> tuple[float, int]:
    return min(
        (steps * subsampled_rdp(rate, noise, order) + math.log(1 / delta) / (order - 1), order) for order in orders
    )


def federated_average(clients: list[dict[str, np.ndarray]], sizes: list[int]) -> dict[str, np.ndarray]:
    total = sum(sizes)
    if total == 0:
        raise ValueError("no client has any examples")
    return {
        name: sum(
            size / total * np.asarray(client[name], dtype=float) for client, size in zip(clients, sizes, strict=True)
        )
        for name in clients[0]
    }


def membership_attack(members: np.ndarray, outsiders: np.ndarray) -> tuple[float, float]:
    # Between two losses nothing changes, so the losses themselves are all thresholds worth trying.
    thresholds = np.concatenate([members, outsiders])[:, None]
    gaps = (members <= thresholds).mean(1) - (outsiders <= thresholds).mean(1)
    lower, equal = members[:, None] < outsiders, members[:, None] == outsiders
    return max(0.0, float(gaps.max())), float((lower + 0.5 * equal).mean())


def _keep(epsilon: float) -> float:
    return 1 / (1 + math.exp(-epsilon))  # e^-ε underflows to 0, e^ε would overflow
